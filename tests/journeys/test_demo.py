"""`skyloom demo`: the whole loop on real flights, told with its figures."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.journey import COMMAND, Project


@pytest.mark.xdist_group("demo")
@pytest.mark.timeout(600)
def test_the_demo_tells_the_whole_loop(tmp_path: Path) -> None:
    words = [COMMAND, "demo", "--dir", str(tmp_path / "demo"), "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=580, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    steps = {step["title"]: step["figures"] for step in json.loads(done.stdout)["steps"]}
    project = Project(tmp_path / "demo")
    _brought_in(told(steps, "ingest"), project)
    assert told(steps, "apply")["sources"] == 2
    assert told(steps, "training set of v1")["never labelled"] > 1_000
    assert told(steps, "serve")["labels joined"] > 1_000
    skew = told(steps, "zero skew")
    assert skew["predictions"] > 1_000
    assert skew["values"].endswith(" compared, 0 different")
    assert told(steps, "v2: shadow")["decision"] in ("promoted", "rolled back", "held")
    assert told(steps, "v2: shadow")["stages"].startswith("shadow > ")
    broken = told(steps, "v3: on canary")
    assert broken["decision"] == "rolled back"
    assert 0 < broken["rolled back after"] < 10_000
    again = told(steps, "receipt and replay")
    assert again["the same again"] is True
    assert again["served"] == again["replayed"]
    _stands(project, again["prediction"])


def told(steps: dict[str, Any], begin: str) -> Any:
    [figures] = [figures for title, figures in steps.items() if title.startswith(begin)]
    return figures


def _brought_in(figures: Any, project: Project) -> None:
    rejected = figures["departures in quarantine"]
    assert rejected > 0
    assert figures["departures"] > 80_000
    reasons = {row["reason"] for row in project.lake("quarantine/departures")}
    assert len(reasons) > 2


def _stands(project: Project, prediction: str) -> None:
    """What the demo leaves is a project like any other; what was overridden is on the record."""
    versions = project.json("models", "--profile", "demo")
    third = next(each for each in versions if each["version"]["number"] == 3)
    assert third["version"]["gated"] is False
    assert "bad release" in third["version"]["override"]["reason"]
    assert third["champion"] is False
    assert sum(each["champion"] for each in versions) == 1
    again = project.json("replay", prediction, "--profile", "demo")
    assert again["features_equal"]
    assert again["score_equal"]
