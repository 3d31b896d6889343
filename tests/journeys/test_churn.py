"""A newcomer's way on a table that is not the flights: from `new` to the same number again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.journeys.journey import Project, Up, mode, now_ms, until

PORTS = "\n[local.serving]\nport = 0\n\n[local.api]\nport = 0\n"


def test_the_whole_way_on_churn(tmp_path: Path, launch: Callable[..., Up]) -> None:
    made = Project(tmp_path).json("new", "churn", "--example", "churn")
    project = Project(tmp_path / "churn")
    assert {"README.md", "churn.py", "data/visits.parquet"} <= set(made["files"])
    assert Path(made["directory"]) == project.directory
    settings = (project.directory / "skyloom.toml").read_text().replace("\n[local]\n", PORTS)
    project.write("skyloom.toml", settings)
    _declare(project)
    _bring_in(project)
    _learn(project)
    up = launch(project)
    id = _serve(up)
    _explain(project, up, id)
    assert up.end() == 0


def _declare(project: Project) -> None:
    planned = project.json("plan")
    assert planned["recorded"] is None
    assert planned["changes"]
    recorded = project.json("apply")
    assert recorded["digest"] == planned["digest"]
    assert project.json("plan")["changes"] == []
    assert project.json("apply")["changes"] == []


def _bring_in(project: Project) -> None:
    for source, rows in (("renewals", 3_908), ("decisions", 3_908)):
        done = project.json("ingest", source)
        assert (done["rows"], done["accepted"], done["rejected"]) == (rows, rows, 0)
    shutil.move(project.directory / "data" / "visits.parquet", project.directory / "elsewhere.parquet")
    assert project.json("ingest", "visits", "elsewhere.parquet")["accepted"] == 18_662
    assert len({row["visit_id"] for row in project.lake("events/visits")}) == 18_662


def _learn(project: Project) -> None:
    trained = project.json("train", "churn", "--set", "strength=0.5")
    version, run = trained["version"], trained["run"]
    assert (version["number"], version["gated"]) == (1, True)
    assert run["parameters"] == {"strength": 0.5}
    assert 0.7 < run["metrics"]["roc_auc"] < 0.9
    [listed] = project.json("models")
    assert listed == {"version": version, "champion": True}
    assert project.json("runs") == [run]


def _serve(up: Up) -> str:
    visits = [
        {
            "visit_id": f"new-{n}",
            "at": now_ms() - n * 60_000,
            "customer_id": "c0001",
            "minutes": 12.5,
            "asked_support": n == 0,
        }
        for n in range(3)
    ]
    status, answer = up.serving.post("/events/visits", visits)
    assert (status, answer["accepted"], answer["rejected"]) == (202, 3, [])
    renewal = {"renewal_id": "c0001-99", "customer_id": "c0001", "plan": "basic", "price": 9.0, "months": 7}

    def features_have_seen_the_visits() -> str | None:
        status, answer = up.serving.post("/predict/churn", {**renewal, "due": now_ms()})
        assert (status, answer["model"], answer["version"]) == (200, "churn", 1), answer
        assert 0 < answer["score"] < 1
        told = until(lambda: _receipt(up, answer["id"]))
        return answer["id"] if told["inputs"]["activity_visits_7d"] == 3.0 else None

    return until(features_have_seen_the_visits)


def _receipt(up: Up, id: str) -> Any:
    status, told = up.api.ask("GET", f"/api/receipts/{id}")
    assert status in (200, 404), told
    return told if status == 200 else None


def _explain(project: Project, up: Up, id: str) -> None:
    made = project.json("receipt", id)
    assert made["inputs"]["activity_minutes_28d"] == 12.5
    assert made["version"]["number"] == 1
    assert made["run"]["id"] == made["version"]["run"]
    assert made["data"]["digest"]
    again = project.json("replay", id)
    assert (again["features_equal"], again["score_equal"]) == (True, True)
    assert again["replayed"] == again["served"] == made["receipt"]["score"]
    assert mode(project.directory / ".skyloom" / "private" / "api.key") == 0o600
    status, models = up.api.ask("GET", "/api/models")
    assert (status, models[0]["champion"]["version"]) == (200, 1)
