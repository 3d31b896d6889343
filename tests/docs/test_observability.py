"""The page about watching: its profile is one, its scrape is one, and what it says of files and lines is so."""

import json
import logging
import re
import subprocess
from contextlib import closing
from pathlib import Path

import yaml

from skyloom.cli.dashboards import FILES, FOLDER
from skyloom.platform import open_platform
from skyloom.runtime.serve import services_of
from skyloom.serving.logs import JsonLines, TextLines
from skyloom.serving.services import Listen, Watching
from skyloom.serving.traces import UNDER_WAY, Underway
from skyloom.spec.profile import Workers, load_profile

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()


def block(kind: str) -> str:
    [found] = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return found


def test_the_profile_and_its_keys(tmp_path: Path):
    (tmp_path / "skyloom.toml").write_text(block("toml"))
    serving = load_profile(tmp_path).serving
    assert (serving.traces, serving.trace_share, serving.log_requests_over) == ("http://127.0.0.1:4318", 0.01, 0.5)
    platform = open_platform(tmp_path)
    with closing(platform.log), closing(platform.online):
        assert services_of(platform, Listen()).watching == Watching("http://127.0.0.1:4318", 0.01, True, "json", 0.5)
    keys = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Metrics")[0], re.MULTILINE)
    assert keys == ["traces", "trace_share", "request_ids", "logs", "log_requests_over"]
    assert set(keys) <= set(Workers.__struct_fields__)
    assert Workers().trace_share == 0.01


def test_the_files_that_are_named():
    assert set(re.findall(r"^\| `([\w.]+(?:json|yaml))` \|", PAGE, re.MULTILINE)) == set(FILES)
    rules = sum(len(group["rules"]) for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"])
    assert f"Prometheus: {rules} rules" in PAGE


def test_the_scrape_is_one(promtool: str, tmp_path: Path):
    key = tmp_path / "key"
    key.write_text("sky_1")
    settings = yaml.safe_load(block("yaml"))
    settings["scrape_configs"][0]["authorization"]["credentials_file"] = str(key)
    settings["rule_files"] = [str(FOLDER / "alerts.yaml")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    words = [promtool, "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lines_of_the_log():
    shown = json.loads(re.search(r"line = '''(.*?)'''", PAGE, re.DOTALL)[1].replace("\n...", ""))  # type: ignore[index]
    record = logging.LogRecord(shown["logger"], logging.INFO, "", 0, shown["message"], (), None)
    record.created, record.msecs, record.process = 1_795_280_059.889, 889.0, shown["process"]
    record.fields = {name: shown[name] for name in ("request", "status", "seconds")}
    token = UNDER_WAY.set(Underway(shown["request_id"], shown["trace_id"]))
    try:
        assert json.loads(JsonLines().format(record)) == shown
        assert TextLines().format(record) == block("text").strip()
    finally:
        UNDER_WAY.reset(token)
