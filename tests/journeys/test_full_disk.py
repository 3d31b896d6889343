"""A disk that is full (files that may not grow): a clear error, nothing lost, and everything works once there is room."""

import resource
from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.journeys import shop
from tests.journeys.journey import Project, Up, now_ms, until
from tests.journeys.traffic import Traffic

from skyloom.runtime.skew import check_skew

NO_ROOM = "cannot be written now"
FREE_SOME = "free some space there, then try again"


def write_orders(project: Project, name: str, count: int) -> None:
    table = pa.table(
        {
            "order_id": [f"{name}{number}" for number in range(count)],
            "placed": shop.moments(shop.START_MS + 1_000 * np.arange(count)),
            "shop": [f"shop{number % 5}" for number in range(count)],
            "amount": np.arange(count) / 7,
        }
    )
    pq.write_table(table, project.directory / f"{name}.parquet")


def size(project: Project, *names: str) -> int:
    return max((project.directory / ".skyloom" / name).stat().st_size for name in names)


def keys(project: Project) -> Counter[str]:
    return Counter(row["order_id"] for row in project.lake("events/orders"))


def test_ingest_without_room_for_the_log(trained: Project) -> None:
    write_orders(trained, "many", 30_000)
    limit = size(trained, "log/data.mdb", "online/data.mdb") + 50_000
    refusal = trained.refused("ingest", "orders", "many.parquet", largest_file=limit)
    assert NO_ROOM in refusal.error
    assert refusal.next == FREE_SOME
    assert trained.platform.log.end("events/orders") == shop.ORDERS
    assert len(keys(trained)) == shop.ORDERS
    assert trained.json("ingest", "orders", "many.parquet")["accepted"] == 30_000
    assert set(keys(trained).values()) == {1}
    assert len(keys(trained)) == shop.ORDERS + 30_000


def test_ingest_with_room_for_the_log_alone(trained: Project) -> None:
    write_orders(trained, "some", 5_000)
    limit = size(trained, "log/data.mdb", "online/data.mdb") + 150_000
    refusal = trained.refused("ingest", "orders", "some.parquet", largest_file=limit)
    assert refusal.error.startswith("5,000 rows of orders are in the log, but not all are in the lake yet: ")
    assert NO_ROOM in refusal.error
    assert "the next skyloom ingest, or skyloom up, takes them from the log" in refusal.next
    trained.json("ingest", "deliveries")
    assert set(keys(trained).values()) == {1}
    assert len(keys(trained)) == shop.ORDERS + 5_000


def test_train_without_room(trained: Project) -> None:
    """Whatever the disk refuses (the run's beginning, its end, the rollout): versions have their runs, runs their end."""
    for limit in (20_480, 49_152):
        refusal = trained.refused("train", "late", largest_file=limit)
        assert NO_ROOM in refusal.error
        assert refusal.next.startswith(FREE_SOME)
        listed = trained.json("models")
        assert [each["champion"] for each in listed] == [True] + [False] * (len(listed) - 1)
        assert ("is trained and registered" in refusal.error) == (len(listed) == 2)
    assert trained.json("train", "late")["version"]["number"] == len(listed) + 1
    runs = trained.json("runs")
    made = {run["id"]: run["version"] for run in runs if run["status"] == "done"}
    assert made == {each["version"]["run"]: each["version"]["number"] for each in trained.json("models")}
    assert {run["status"] for run in runs} <= {"done", "failed"}


def test_up_without_room(trained: Project, launch: Callable[..., Up]) -> None:
    up = launch(trained)
    traffic = Traffic(up, "traffic")
    until(lambda: len(traffic.reported) > 20)
    pids, full = up.children().values(), size(trained, "log/data.mdb")
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    until(lambda: NO_ROOM in up.said() and "trying again" in up.said())
    answered = len(traffic.answered)
    status, _ = up.serving.post("/predict/late", {"order_id": "x", "placed": now_ms(), "shop": "shop1", "amount": 1.0})
    assert status == 200, "serving waits for no disk"
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    reported = len(traffic.reported)
    until(lambda: len(traffic.answered) > answered + 20 and len(traffic.reported) > reported + 20)
    traffic.stop()
    assert sorted(up.children().values()) == sorted(pids), "a process died of the full disk"
    assert up.end() == 0
    skew = check_skew(trained.platform, "late")
    assert skew.differences == ()
    events = Counter(row["order_id"] for row in trained.lake("events/deliveries"))
    assert [id for id in traffic.reported if events[id] != 1] == []
    receipts = {row["id"] for row in trained.lake("predictions/late")}
    assert [id for id in traffic.answered.values() if id not in receipts] == []
