"""Every meter that the dashboard and the alert rules name is one that a server, or the control plane, shows."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from authority import Authority
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families
from serving_world import ServerProcess, World

from skyloom.api.meters import meters
from skyloom.cli.dashboards import FOLDER
from skyloom.kernel.records.definitions import ProjectDef
from skyloom.platform import open_platform
from skyloom.runtime.state import CURRENT, PROJECT, Applied, write
from skyloom.serving.certificate_watch import CertificateWatch
from skyloom.serving.certificates import CertificateFiles

SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
LABELS = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")


def series(text: str) -> dict[str, set[str]]:
    """The names of series that a page of meters promises, and the labels of those that are there."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for suffix in SUFFIXES[family.type]:
            found.setdefault(f"{family.name}{suffix}", set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def page(served: tuple[World, ServerProcess]) -> str:
    _, server = served
    flight = {
        "flight_id": "f1",
        "scheduled": 1_364_800_000_000,
        "carrier": "UA",
        "distance": 1.0,
        "seats": 5,
        "charter": False,
    }
    assert server.ask("POST", "/predict/late", flight)[0] == 200
    return server.ask("GET", "/metrics")[1]


@pytest.fixture(scope="module")
def known(page: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What a server shows, what its certificates add, and what the control plane shows."""
    folder = tmp_path_factory.mktemp("known")
    registry = CollectorRegistry()
    written = Authority().issue("localhost").write(folder)
    CertificateWatch(CertificateFiles(**{name: Path(path) for name, path in written.items()}), registry)
    platform = open_platform(folder)
    project = ProjectDef("p", {}, {}, {})
    with platform.metadata.transaction("tester") as transaction:
        write(transaction, PROJECT, CURRENT, Applied(project, "0" * 64, None, 0), action="apply")
    return series(page) | series(generate_latest(registry).decode()) | series(meters(platform).decode())


def expressions() -> list[str]:
    dashboard = json.loads((FOLDER / "serving.json").read_text())
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked += [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
    return asked + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_every_meter_that_is_named_is_there(known: dict[str, set[str]]):
    named = {name for each in expressions() for name in re.findall(r"\bskyloom_\w+", each)}
    assert named - set(known) == set()


def test_every_meter_that_the_documentation_names_is_there(known: dict[str, set[str]]):
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known}
    assert set(re.findall(r"`(skyloom_\w+)", page)) <= families


def test_labels_that_select_are_labels_of_the_meters(known: dict[str, set[str]]):
    for expression in expressions():
        for name, selected in re.findall(r"\b(skyloom_\w+)\{([^}]*)\}", expression):
            if known[name]:  # a meter with labels has none of them before it has counted
                assert set(LABELS.findall(selected)) <= known[name], expression


def test_promtool_has_nothing_to_say_against_the_meters(page: str, promtool: str):
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_names_follow_prometheus(page: str):
    for family in text_string_to_metric_families(page):
        assert re.fullmatch(r"skyloom_[a-z_]+", family.name)
        assert family.documentation
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_rows"))


def test_both_formats_tell_the_same(served: tuple[World, ServerProcess], page: str):
    _, server = served
    _, headers, body = server.whole("GET", "/metrics", b"", {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert headers["content-type"].startswith("application/openmetrics-text")
    there: Any = {sample.name for family in open_families(body.decode()) for sample in family.samples}
    plain = {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}
    assert {name for name in there if not name.endswith("_created")} == {
        name for name in plain if not name.endswith("_created")
    }
