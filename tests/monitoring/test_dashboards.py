"""The alert rules and the dashboard as files: right by the programs that read them, and shipped."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyloom.cli.dashboards import FILES, FOLDER
from skyloom.cli.main import main

HERE = Path(__file__).parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def run(program: str, *words: str, given: str = "") -> tuple[int, str]:
    done = subprocess.run([program, *words], input=given, capture_output=True, text=True, check=False, cwd=HERE)
    return done.returncode, done.stdout + done.stderr


def test_the_rules_are_right(promtool: str):
    code, said = run(promtool, "check", "rules", str(FOLDER / "alerts.yaml"))
    assert (code, "SUCCESS" in said) == (0, True), said


def test_each_rule_fires_when_it_has_to_and_not_when_it_does_not(promtool: str):
    code, said = run(promtool, "test", "rules", "alerts.yaml")
    assert code == 0, said
    tests = yaml.safe_load((HERE / "alerts.yaml").read_text())["tests"]
    names = {rule["alert"] for group in rules()["groups"] for rule in group["rules"]}
    silent = {each["alertname"] for each in tests[0]["alert_rule_test"]}
    firing = {
        sample["labels"].split('"')[1]
        for test in tests
        for each in test.get("promql_expr_test", [])
        for sample in each["exp_samples"]
    }
    firing |= {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert (silent, firing) == (names, names)


def test_a_wrong_rule_would_be_found(promtool: str, tmp_path: Path):
    (tmp_path / "wrong.yaml").write_text(
        (FOLDER / "alerts.yaml").read_text().replace("histogram_quantile(0.99, ", "quantle(")
    )
    assert run(promtool, "check", "rules", str(tmp_path / "wrong.yaml"))[0] != 0


def rules() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "alerts.yaml").read_text())


def test_what_every_rule_says():
    for group in rules()["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert rule["alert"].startswith("Skyloom")


def test_the_dashboard_can_be_provisioned():
    """No id, a fixed uid, the data source a variable, nothing to be filled in at an import."""
    dashboard = json.loads((FOLDER / "serving.json").read_text())
    assert (dashboard["id"], dashboard["uid"], "__inputs" in dashboard) == (None, "skyloom-serving", False)
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == DATASOURCE
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert [target["refId"] for target in panel["targets"]] == ["A", "B", "C"][: len(panel["targets"])]
            assert all(target["datasource"] == DATASOURCE for target in panel["targets"])


def test_the_expressions_of_the_dashboard_are_promql(promtool: str, tmp_path: Path):
    """As rules, with the variables filled in as Grafana does."""
    dashboard = json.loads((FOLDER / "serving.json").read_text())
    written = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(written) > 30
    filled = [each.replace("$__rate_interval", "5m").replace("$model", ".*") for each in written]
    assert not any("$" in each for each in filled)
    made = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(filled)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": made}]}))
    code, said = run(promtool, "check", "rules", str(tmp_path / "rules.yaml"))
    assert code == 0, said


def test_the_provider_of_the_dashboard():
    provider = yaml.safe_load((FOLDER / "provider.yaml").read_text())
    assert provider["apiVersion"] == 1
    [only] = provider["providers"]
    assert (only["type"], set(only["options"])) == ("file", {"path", "foldersFromFilesStructure"})


def test_the_command_writes_them_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = tmp_path / "new" / "watch"
    assert main(["dashboards", "--to", str(target), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(Path(each).name for each in told["written"]) == sorted(FILES)
    for name in FILES:
        assert (target / name).read_bytes() == (FOLDER / name).read_bytes()
    assert main(["dashboards", "--to", str(target)]) == 0  # the same again is no harm
    (target / "alerts.yaml").write_text("groups: []\n")
    (target / "serving.json").unlink()
    assert main(["dashboards", "--to", str(target)]) == 1
    assert "alerts.yaml is there already, and differs" in capsys.readouterr().err
    assert not (target / "serving.json").exists()
    assert main(["dashboards"]) == 0
    assert "skyloom dashboards --to DIRECTORY" in capsys.readouterr().out


def test_every_file_of_the_folder_is_named():
    assert {path.name for path in FOLDER.iterdir()} == set(FILES)
