"""A project whose sources have three partitions and whose stream work two processes share: nothing else is to be seen of it,
but the offsets that receipts show."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.journeys.journey import Project, Up, now_ms, until

from skyloom.runtime.state import applied
from skyloom.runtime.worker import shards_of
from skyloom.runtime.worker.fence import lease_of

SETTINGS = """
[project]
name = "churn"
module = "churn.py"

[local]
partitions = 3
stream = { workers = 2, patience = 2 }
serving = { port = 0 }
api = { port = 0 }
"""
SOURCES = {"renewals": 3_908, "decisions": 3_908, "visits": 18_662}
CUSTOMERS = [f"c{number:04d}" for number in range(5)]


def test_partitions_shared_by_two_workers(tmp_path: Path, launch: Callable[..., Up]) -> None:
    Project(tmp_path).json("new", "churn", "--example", "churn")
    project = Project(tmp_path / "churn")
    project.write("skyloom.toml", SETTINGS)
    project.json("apply")
    for source, rows in SOURCES.items():
        assert project.json("ingest", source)["accepted"] == rows
        assert {row["_offset"] % 3 for row in project.lake(f"events/{source}")} == {0, 1, 2}
    assert project.json("train", "churn")["version"]["gated"]
    up = launch(project)
    until(lambda: owners(project) == ["1", "2", "1"], "the shards are not divided")
    first = visited_and_asked(up, "first")
    are_as_the_lake_says(project, first)
    is_explained(project, up, first[-1])
    a_group_is_built_again(project)
    a_customer_is_erased(project, up, CUSTOMERS[1])
    second = a_killed_worker_is_replaced(project, up)
    are_as_the_lake_says(project, first + second)
    is_told(project, len(first + second), erased=len(first))
    assert up.end() == 0
    assert owners(project) == ["", "", ""]
    counts = Counter(row["visit_id"] for row in project.lake("events/visits"))
    assert counts.most_common(1)[0][1] == 1


def owners(project: Project) -> list[str]:
    """The number of the process that owns each shard; empty for none."""
    platform = project.platform
    with platform.online.read() as view:
        leases = [lease_of(view, shard) for shard in range(shards_of(platform.log, applied(platform.metadata).project))]
    return ["" if lease is None else lease.owner.rpartition("/")[2] for lease in leases]


def visited_and_asked(up: Up, name: str, times: int = 12) -> list[str]:
    """Visits of some customers, each reported twice, and predictions about them in between; the ids of these."""
    ids: list[str] = []
    for number in range(times):
        for _ in range(2):
            status, told = up.serving.post("/events/visits", visits(f"{name}-{number}"))
            assert (status, told["accepted"], told["first_offset"]) == (202, len(CUSTOMERS), None)
        customer = CUSTOMERS[number % len(CUSTOMERS)]
        asked = {"renewal_id": f"{name}-{number}", "customer_id": customer, "plan": "basic", "price": 9.0, "months": 7}
        status, answer = up.serving.post("/predict/churn", {**asked, "due": now_ms()})
        assert status == 200, answer
        ids.append(answer["id"])
        decided = {"renewal_id": f"{name}-{number}", "decided": now_ms(), "cancelled": number % 2 == 0}
        assert up.serving.post("/events/decisions", decided)[0] == 202
    return ids


def visits(name: str) -> list[dict[str, Any]]:
    return [
        {"visit_id": f"{name}-{each}", "at": now_ms(), "customer_id": each, "minutes": 12.5, "asked_support": False}
        for each in CUSTOMERS
    ]


def are_as_the_lake_says(project: Project, ids: list[str]) -> None:
    """Zero skew over all predictions, whose labels have come; nothing is behind."""

    def compared() -> bool:
        found = project.json("features", "check")
        assert (found["incidents"], found["skew"]["churn"]["differences"]) == ([], [])
        return found["skew"]["churn"]["predictions"] == len(ids)

    until(compared, "predictions are not in the lake")
    lag = project.json("features", "lag")
    assert set(lag["topics"]) == {"events/renewals", "events/visits", "events/decisions", "predictions/churn"}
    assert all((each["unfolded"], each["unsunk"], each["dead"]) == (0, 0, 0) for each in lag["topics"].values())
    assert {row["id"] for row in project.lake("predictions/churn")} == set(ids)


def is_explained(project: Project, up: Up, id: str) -> None:
    """A receipt names the partitions; what it says of each is an offset as the lake has them."""
    saw = project.json("receipt", id)["receipt"]["as_of"]
    assert set(saw) == {"visits/0", "visits/1", "visits/2"}
    there = [row["_offset"] for row in project.lake("events/visits")]
    for place, before in saw.items():
        partition = int(place.partition("/")[2])
        assert before % 3 == 0
        assert SOURCES["visits"] / 4 < sum(offset < before for offset in there if offset % 3 == partition)
    assert "visits/2 below offset" in project.run("receipt", id).out
    again = project.json("replay", id)
    assert (again["features_equal"], again["score_equal"]) == (True, True)
    assert up.api.ask("GET", f"/api/receipts/{id}")[1]["receipt"]["as_of"] == saw


def a_group_is_built_again(project: Project) -> None:
    [group] = project.json("features", "list")
    assert (group["state"], group["behind"], group["left"]) == ("built", 0, 0)
    values = project.json("features", "preview", "activity", "--entity", CUSTOMERS[0])["rows"]
    said = project.run("features", "backfill", "activity")
    log = project.platform.log
    ends = sum(log.end("events/visits", partition) for partition in range(3))
    assert f"activity holds every event: {ends:,} offsets of the log" in said.out, said
    assert project.json("features", "preview", "activity", "--entity", CUSTOMERS[0])["rows"] == values
    assert project.json("features", "list")[0]["state"] == "built"


def a_customer_is_erased(project: Project, up: Up, name: str) -> None:
    """By the worker that has every shard meanwhile; afterwards the work is shared again."""
    there = sum(row["customer_id"] == name for row in project.lake("events/visits"))
    done = project.json("erase", "visits", "--where", f"customer_id={name}", "--yes")
    assert done["rows"]["events/visits"] == there > 0
    assert not [row for row in project.lake("events/visits") if row["customer_id"] == name]
    assert up.serving.post("/events/visits", visits("after"))[0] == 202
    until(lambda: owners(project) == ["1", "2", "1"], "the shards are not divided again")


def a_killed_worker_is_replaced(project: Project, up: Up) -> list[str]:
    killed = up.children()["runtime.work/2"]
    ids = visited_and_asked(up, "before the kill")
    os.kill(killed, signal.SIGKILL)
    ids += visited_and_asked(up, "after the kill")
    fresh = until(lambda: (now := up.children().get("runtime.work/2")) != killed and now, "it is not started again")
    until(lambda: f"work-2 ready (process {fresh})" in up.said(), "it is not ready again")
    until(lambda: owners(project) == ["1", "2", "1"], "it does not get its shards")
    return ids


def is_told(project: Project, predictions: int, erased: int) -> None:
    report = project.json("monitor")
    [health] = report["models"]
    assert (health["predictions"]["served"], health["predictions"]["labelled"]) == (predictions, predictions)
    assert (health["skew"]["differences"], report["incidents"]) == ([], [])
    repeated = predictions * len(CUSTOMERS) - erased
    assert report["quarantine"]["visits"] == {"visit_id: duplicate key": repeated}
    assert project.run("doctor").code == 0
