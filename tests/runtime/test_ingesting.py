"""Rows of a database and of a broker in a whole project: from the declaration to the lake."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from skyloom.kernel.errors import DataError, NotFound, UsageError
from skyloom.platform import Platform, open_platform
from skyloom.runtime.applying import apply
from skyloom.runtime.ingesting import expected, ingest
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import applied

PROJECT = '''"""Payments, from where they are."""

import skyloom as sky


class Payment(sky.Event):
    id: str = sky.key()
    paid: sky.Timestamp = sky.time()
    amount: float


TABLE
payments = sky.Source(Payment, table=table, stream=STREAM)
'''
TABLE = 'table = sky.sql("sqlite:///shop.db", table="payments", cursor=("paid", "id"))'


def project(folder: Path, table: str = TABLE, stream: str | None = None, partitions: int = 1) -> Platform:
    folder.mkdir()
    local = f"[local]\npartitions = {partitions}\n"
    (folder / "skyloom.toml").write_text(f'[project]\nname = "till"\nmodule = "till.py"\n{local}')
    (folder / "till.py").write_text(PROJECT.replace("TABLE", table).replace("STREAM", repr(stream)))
    platform = open_platform(folder)
    apply(platform)
    return platform


def insert(folder: Path, rows: list[tuple[Any, ...]]) -> None:
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS payments (id TEXT, paid TEXT, amount REAL)")
        database.executemany("INSERT INTO payments VALUES (?, ?, ?)", rows)


def lake(platform: Platform, table: str) -> list[dict[str, Any]]:
    return platform.lake.read(table).to_pylist() if platform.lake.version(table) is not None else []


def test_rows_of_several_partitions_are_counted_as_those_of_one(tmp_path: Path) -> None:
    platform = project(tmp_path / "till", partitions=4)
    assert platform.log.partitions("events/payments") == 4
    insert(tmp_path / "till", [(f"k{n}", f"2025-01-01 10:00:{n:02d}", 1.0) for n in range(30)])
    done = ingest(platform, "payments")
    assert (done.accepted, done.repeated, done.partitions, len(done.spans)) == (30, 0, 4, 4)
    # 13 whose keys came before, each to the partition of its first copy, among 7 that are new
    rows = [(f"k{n}", f"2025-01-02 10:00:{n - 17:02d}", 2.0) for n in range(17, 37)]
    insert(tmp_path / "till", rows)
    done = ingest(platform, "payments")
    assert (done.accepted, done.repeated) == (20, 13)
    assert sum(span.end - span.start for span in done.spans) == 20
    amounts = {row["id"]: row["amount"] for row in lake(platform, "events/payments")}
    assert amounts == {f"k{n}": 1.0 if n < 30 else 2.0 for n in range(37)}
    assert len({row["_offset"] for row in lake(platform, "events/payments")}) == 37


def test_a_database_is_followed_into_the_lake(tmp_path: Path) -> None:
    platform = project(tmp_path / "till")
    insert(tmp_path / "till", [("a", "2025-01-01 10:00:00", 1.0), ("b", "2025-01-01 10:00:00", None)])
    assert expected(platform, "payments") == 0
    seen: list[int] = []
    done = ingest(platform, "payments", on_rows=seen.append)
    assert (done.rows, done.accepted, done.rejected, done.repeated, seen) == (2, 1, 1, 0, [2])
    # one with the same moment, one later, and one whose key came before
    rows = [("c", "2025-01-01 10:00:00", 2.0), ("d", "2025-01-02 10:00:00", 3.0), ("a", "2025-01-03 10:00:00", 4.0)]
    insert(tmp_path / "till", rows)
    done = ingest(platform, "payments")
    assert (done.rows, done.accepted, done.rejected, done.repeated) == (3, 3, 0, 1)
    assert ingest(platform, "payments").rows == 0
    assert sorted((row["id"], row["amount"]) for row in lake(platform, "events/payments")) == [
        ("a", 1.0),
        ("c", 2.0),
        ("d", 3.0),
    ]
    reasons = sorted(row["reason"] for row in lake(platform, "quarantine/payments"))
    assert reasons == ["amount: expected a number, got null", "id: duplicate key"]


def test_a_secret_is_in_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILL_SECRET", "hunter2")
    table = 'table = sky.sql("sqlite:///${TILL_SECRET}.db", table="payments", cursor="id")'
    platform = project(tmp_path / "till", table)
    insert(tmp_path / "till", [("a", "2025-01-01 10:00:00", 1.0)])
    (tmp_path / "till" / "shop.db").rename(tmp_path / "till" / "hunter2.db")
    assert ingest(platform, "payments").accepted == 1
    recorded = [change.body or b"" for change in platform.metadata.changes()]
    assert any(b"${TILL_SECRET}" in body for body in recorded)
    assert not any(b"hunter2" in body for body in recorded)


def test_a_file_goes_where_a_database_is_declared_too(tmp_path: Path) -> None:
    platform = project(tmp_path / "till")
    file = tmp_path / "more.ndjson"
    file.write_text(json.dumps({"id": "f", "paid": "2025-01-01T10:00:00Z", "amount": 1}) + "\n")
    assert expected(platform, "payments", file) == 1
    assert (ingest(platform, "payments", file).accepted, ingest(platform, "payments", file).known) == (1, 1)
    assert len(lake(platform, "events/payments")) == 1


def test_what_cannot_be_ingested_is_said(tmp_path: Path) -> None:
    platform = project(tmp_path / "till", "table = None")
    with pytest.raises(UsageError, match="declares no table"):
        ingest(platform, "payments")
    with pytest.raises(NotFound, match="no source 'payment'"):
        ingest(platform, "payment")
    with pytest.raises(NotFound, match="no file"):
        ingest(platform, "payments", tmp_path / "nowhere.csv")
    there = project(tmp_path / "other")
    with pytest.raises(DataError, match="cannot be read"):
        ingest(there, "payments")  # a new file of SQLite, which holds no table


@pytest.mark.xdist_group("kafka")
def test_the_worker_process_takes_a_topic_of_others(tmp_path: Path, kafka: Any) -> None:
    from confluent_kafka import Producer

    topic = f"till-{uuid.uuid4().hex[:8]}"
    platform = project(tmp_path / "till", "table = None", f"kafka://{kafka.servers}/{topic}")
    producer = Producer({"bootstrap.servers": kafka.servers, "log_level": 0})
    if kafka.real:
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": kafka.servers, "log_level": 0})
        admin.create_topics([NewTopic(topic, 2)])[topic].result(10)
    else:
        kafka.make(topic)
    for n in range(200):
        body = {"id": f"k{n % 150}", "paid": "2025-01-01T10:00:00Z", "amount": n, "theirs": True}
        producer.produce(topic, json.dumps(body).encode(), partition=n % 2)
    producer.produce(topic, b"broken", partition=1)
    producer.flush(10)
    killed = working(tmp_path / "till")
    until(lambda: platform.log.end("events/payments") > 0, killed)
    killed.kill()
    killed.wait()
    worker = working(tmp_path / "till")
    until(lambda: platform.log.end("quarantine/payments") > 0 and platform.log.end("events/payments") >= 200, worker)
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    settle(platform, applied(platform.metadata).project)
    kept = lake(platform, "quarantine/payments")
    assert sorted(row["id"] for row in lake(platform, "events/payments")) == sorted(f"k{n}" for n in range(150))
    assert [row["origin"].rpartition("/")[2] for row in kept if row["reason"].startswith("not valid JSON")] == ["1@100"]


def working(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "skyloom.runtime.work", str(folder), "local"])


def until(true: Any, process: "subprocess.Popen[bytes]") -> None:
    """Wait for what a process is to do; its end is the end of waiting."""
    while not true():
        assert process.poll() is None, "the worker ended"
        time.sleep(0.01)
