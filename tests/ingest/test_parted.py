"""Every way in on a source of three partitions: each row once, in the partition of its key, in the order of its coming."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.ingest.homes import home
from tests.ingest.killed import SCHEMA, SOURCE, P, import_visits

from skyloom.ingest import imports, sql
from skyloom.ingest import messages as module
from skyloom.ingest.arrow import judge_stream
from skyloom.ingest.codec import decode
from skyloom.ingest.gateway import accept, accept_many, judge_lines, take_many
from skyloom.ingest.imports import Imported, import_file
from skyloom.ingest.messages import Bridge, Message
from skyloom.ingest.partitions import Span
from skyloom.ingest.sql import import_sql
from skyloom.kernel.clock import ManualClock
from skyloom.kernel.errors import Transient
from skyloom.kernel.locations import sql_table
from skyloom.kernel.records.definitions import SourceDef
from skyloom.runtime.ingesting import database_rows
from skyloom.spec.source import sql as declared
from skyloom.stores.log.kafka import KafkaLog
from skyloom.stores.log.kafka_settings import KafkaSettings
from skyloom.stores.log.lmdb import LmdbLog
from skyloom.stores.metadata.sqlite import SqliteMetadata
from skyloom.testing.faults import killed_after

NOW = 1_364_800_000_000
TOPIC = "events/visits"
Rows = list[tuple[str, int]]


class Parted:
    """Stores whose log has three partitions."""

    def __init__(self, log: Any, metadata: Any) -> None:
        self.log, self.metadata = log, metadata

    def rows(self, source: SourceDef = SOURCE) -> list[Rows]:
        """(key, n) of the rows of each partition, as they lie in the log."""
        found: list[Rows] = []
        for partition in range(P):
            batches = self.log.read(f"events/{source.name}", 0, 1 << 40, partition)
            table = decode(batches, SCHEMA, partition, P)
            found.append(list(zip(table.column("id").to_pylist(), table.column("n").to_pylist(), strict=True)))
        return found

    def quarantined(self, source: SourceDef = SOURCE) -> list[str]:
        batches = self.log.read(f"quarantine/{source.name}", 0, 1 << 40)
        return [origin for batch in batches for _, _, origin, _ in msgspec.msgpack.decode(batch.payload)]


def at_home(rows: Rows) -> list[Rows]:
    """Where rows belong."""
    return [[row for row in rows if home(row[0], P) == partition] for partition in range(P)]


def firsts(rows: Rows) -> Rows:
    """The first copy of each key."""
    return list({key: (key, n) for key, n in reversed(rows)}.values())[::-1]


def row(key: str, n: int) -> dict[str, Any]:
    return {"id": key, "at": NOW, "n": n}


def stream(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    found = table(rows)
    with pa.ipc.new_stream(sink, found.schema) as writer:
        writer.write_table(found, 3)
    return sink.getvalue().to_pybytes()


def table(rows: Rows) -> pa.Table:
    at = pa.array([NOW] * len(rows), pa.timestamp("ms", tz="UTC"))
    return pa.table({"id": [key for key, _ in rows], "at": at, "n": [n for _, n in rows]})


def lines(rows: Rows) -> bytes:
    return b"\n".join(json.dumps(row(key, n)).encode() for key, n in rows)


@pytest.fixture
def parted(tmp_path: Path) -> Iterator[Parted]:
    made = Parted(LmdbLog(tmp_path / "log", P), SqliteMetadata(tmp_path / "metadata.db", ManualClock(NOW)))
    yield made
    made.log.close()
    made.metadata.close()


ROWS = [(f"k{n}", n) for n in range(40)]


def test_rows_of_every_form_of_request_lie_at_home_in_order(parted: Parted) -> None:
    forms: list[Any] = [
        lambda rows: accept(parted.log, SOURCE, [row(key, n) for key, n in rows], NOW),
        lambda rows: take_many(parted.log, SOURCE, [lambda *to: judge_lines(lines(rows), *to)], NOW)[0],
        lambda rows: take_many(parted.log, SOURCE, [lambda *to: judge_stream(stream(rows), *to)], NOW)[0],
    ]
    sent: Rows = []
    for number, send in enumerate(forms):
        rows = [(key, n + 100 * number) for key, n in ROWS]  # the same keys again: each where it was before
        sent += rows
        answer = send(rows)
        assert (answer.accepted, answer.rejected, answer.first_offset) == (40, (), None)
        assert parted.rows() == at_home(sent)
    assert all(parted.rows())


def test_requests_that_come_at_once_are_appended_once_a_partition(parted: Parted) -> None:
    requests: list[list[Any]] = [[row("k0", 0), row("k1", 1)], [row("k2", None)], [], [row("k0", 3), row("k4", 4)]]  # type: ignore[arg-type]
    answers = accept_many(parted.log, SOURCE, requests, NOW)
    told = [(answer.accepted, len(answer.rejected), answer.first_offset) for answer in answers]
    assert told == [(2, 0, None), (0, 1, None), (0, 0, None), (2, 0, None)]
    assert parted.rows() == at_home([("k0", 0), ("k1", 1), ("k0", 3), ("k4", 4)])
    assert parted.quarantined() == ["stream"]
    assert parted.log.partitions("quarantine/visits") == 1


def test_what_was_appended_in_part_is_sent_again_and_rejects_are_kept_once(parted: Parted, faulty: Any, died: Any) -> None:
    good = [row(key, n) for key, n in ROWS]
    for nth in range(1, P + 1):
        for after in (False, True):
            with pytest.raises(died):
                accept(faulty(parted.log, nth, after=after), SOURCE, [*good, row("", 0)], NOW)
            assert parted.quarantined() == []
    accept(parted.log, SOURCE, [*good, row("", 0)], NOW)
    assert [firsts(rows) for rows in parted.rows()] == at_home(ROWS)
    assert parted.quarantined() == ["stream"]


def test_a_log_that_fills_up_between_partitions_is_transient(parted: Parted) -> None:
    class Filling:
        """A log with room for the first partition alone."""

        def append(self, topic: str, batches: Any, partition: int = 0) -> list[int]:
            if partition:
                raise Transient("no room")
            return parted.log.append(topic, batches, partition)

        def __getattr__(self, name: str) -> Any:
            return getattr(parted.log, name)

    filling: Any = Filling()
    with pytest.raises(Transient, match="no room"):
        accept(filling, SOURCE, [row(key, n) for key, n in ROWS] + [row("", 0)], NOW)
    assert parted.rows() == [at_home(ROWS)[0], [], []]
    assert parted.quarantined() == []


def bring(parted: Parted, path: Path, log: Any = None, source: SourceDef = SOURCE) -> Imported:
    return import_file(source, path, log=log or parted.log, metadata=parted.metadata, actor="me", now_ms=NOW)


@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_files_are_parted_piece_by_piece(
    parted: Parted, tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PIECE", piece)
    monkeypatch.setattr(imports, "CHUNK", 4)
    accept(parted.log, SOURCE, [row("before", -1)], NOW)
    pq.write_table(table(ROWS), tmp_path / "a.parquet", row_group_size=5)
    done = bring(parted, tmp_path / "a.parquet")
    assert (done.rows, done.accepted, done.partitions) == (40, 40, P)
    assert parted.rows() == at_home([("before", -1), *ROWS])
    counts = [len(rows) for rows in at_home(ROWS)]
    starts = [int(home("before", P) == partition) for partition in range(P)]
    assert done.spans == tuple(Span(part, start, start + counts[part]) for part, start in enumerate(starts))
    again = bring(parted, tmp_path / "a.parquet")
    assert (again.rows, again.known, again.spans) == (0, 40, ())


def crashed(bring_in: Callable[[Any], Any], log: Any, faulty: Any, died: Any, nth: int, *, after: bool) -> bool:
    """Whether it died at its ``nth`` write; then it was begun again."""
    try:
        bring_in(faulty(log, nth, after=after))
    except died:
        bring_in(log)
        return True
    return False


def test_an_import_that_dies_at_any_write_loses_nothing(
    parted: Parted, tmp_path: Path, faulty: Any, died: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PIECE", 5)
    crashes = 0
    for after in (False, True):
        for nth in range(1, 40):
            source, path = SourceDef(f"v{nth}{after}", SCHEMA), tmp_path / f"{nth}{after}.ndjson"
            path.write_bytes(lines([*ROWS[:12], ("", 0)]))
            if not crashed(
                lambda log, at=path, to=source: bring(parted, at, log, to), parted.log, faulty, died, nth, after=after
            ):
                break
            crashes += 1
            assert [firsts(rows) for rows in parted.rows(source)] == at_home(ROWS[:12])
            # what comes twice is what lay in the log of a piece that was not yet remembered
            assert sum(map(len, parted.rows(source))) <= 12 + 5
            assert parted.quarantined(source) == [f"row 13 of {path}"]
    assert crashes > 10


def test_an_import_that_is_killed_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "PIECE", 5)
    (tmp_path / "a.ndjson").write_bytes(lines([("", 0), *ROWS]))
    kills = (2, 4, 3)
    for appends in kills:
        assert TOPIC in killed_after(appends, import_visits, tmp_path, appends)
    made = Parted(LmdbLog(tmp_path / "log", P), SqliteMetadata(tmp_path / "metadata.db", ManualClock(NOW)))
    with contextlib.closing(made.log), contextlib.closing(made.metadata):
        bring(made, tmp_path / "a.ndjson")
        assert [firsts(rows) for rows in made.rows()] == at_home(ROWS)
        assert sum(map(len, made.rows())) <= 40 + 5 * len(kills)
        assert made.quarantined() == [f"row 1 of {tmp_path / 'a.ndjson'}"]
        assert bring(made, tmp_path / "a.ndjson").known == 41


def bring_sql(parted: Parted, folder: Path, log: Any = None) -> Imported:
    place = sql_table(declared("sqlite:///shop.db", table="visits", cursor="seq"))
    assert place is not None
    rows = database_rows(place, folder)
    with contextlib.closing(rows):
        return import_sql(
            SOURCE, place, rows, log=log or parted.log, metadata=parted.metadata, actor="me", now_ms=lambda: NOW
        )


def insert(folder: Path, rows: Rows) -> None:
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS visits (id TEXT, at TEXT, n INTEGER, seq INTEGER)")
        database.executemany(
            "INSERT INTO visits VALUES (?, '2013-04-01 07:00:00', ?, ?)", [(*each, each[1]) for each in rows]
        )


def test_rows_of_a_database_are_parted_batch_by_batch(
    parted: Parted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BATCH", 7)
    insert(tmp_path, ROWS[:30])
    done = bring_sql(parted, tmp_path)
    assert (done.accepted, done.partitions) == (30, P)
    ends = [len(rows) for rows in at_home(ROWS[:30])]
    assert done.spans == tuple(Span(partition, 0, end) for partition, end in enumerate(ends))
    insert(tmp_path, ROWS[30:])
    later = bring_sql(parted, tmp_path)
    counts = [len(rows) for rows in at_home(ROWS[30:])]
    assert later.spans == tuple(Span(p, ends[p], ends[p] + count) for p, count in enumerate(counts) if count)
    assert parted.rows() == at_home(ROWS)
    assert (bring_sql(parted, tmp_path).rows, bring_sql(parted, tmp_path).spans) == (0, ())


def test_a_database_whose_reader_dies_at_any_write_loses_nothing(
    parted: Parted, tmp_path: Path, faulty: Any, died: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BATCH", 4)
    insert(tmp_path, [*ROWS[:9], ("", 9)])
    crashes = 0
    for after in (False, True):
        for nth in range(1, 40):
            with parted.metadata.transaction("me") as transaction:
                if transaction.get(sql.KIND, "visits"):
                    transaction.delete(sql.KIND, "visits", action="begin again")
            for partition in range(P):
                parted.log.truncate(TOPIC, 1 << 40, partition)
            parted.log.truncate("quarantine/visits", 1 << 40)
            if not crashed(lambda log: bring_sql(parted, tmp_path, log), parted.log, faulty, died, nth, after=after):
                break
            crashes += 1
            assert [firsts(rows) for rows in parted.rows()] == at_home(ROWS[:9])
            assert sum(map(len, parted.rows())) <= 9 + 4
            assert len(parted.quarantined()) == 1
    assert crashes > 8


class Topic:
    """Messages of others in one list."""

    def __init__(self, messages: list[bytes]) -> None:
        self.messages, self.at = messages, 0

    def identity(self) -> str:
        return "cluster/theirs"

    def begin(self, positions: dict[int, int]) -> None:
        self.at = positions.get(0, 0)

    def take(self, most: int) -> list[Message]:
        begun, self.at = self.at, min(self.at + most, len(self.messages))
        return [Message(0, offset, self.messages[offset]) for offset in range(begun, self.at)]

    def passed(self, positions: dict[int, int]) -> None:
        """Nobody watches."""

    def close(self) -> None:
        """Nothing to let go."""


def follow(log: Any, source: SourceDef, messages: list[bytes]) -> None:
    bridge = Bridge(source, "theirs", Topic(messages), log, lambda: NOW)
    while bridge.step():
        pass


def test_messages_are_parted_and_a_bridge_that_dies_at_any_write_loses_nothing(
    parted: Parted, faulty: Any, died: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [*lines(ROWS[:12]).split(b"\n"), b"{"]
    follow(parted.log, SOURCE, messages)
    assert parted.rows() == at_home(ROWS[:12])
    monkeypatch.setattr(module, "MOST", 5)
    crashes = 0
    for after in (False, True):
        for nth in range(1, 40):
            source = SourceDef(f"v{nth}{after}", SCHEMA)
            if not crashed(lambda log, to=source: follow(log, to, messages), parted.log, faulty, died, nth, after=after):
                break
            crashes += 1
            assert [firsts(rows) for rows in parted.rows(source)] == at_home(ROWS[:12])
            assert sum(map(len, parted.rows(source))) <= 12 + 5
            assert parted.quarantined(source) == ["theirs/0@12"]
    assert crashes > 10


@pytest.mark.xdist_group("kafka")
def test_every_way_in_parts_alike_in_kafka(kafka_broker: Any, tmp_path: Path) -> None:
    settings = KafkaSettings(kafka_broker.servers, prefix=f"t{uuid4().hex}")
    made = Parted(KafkaLog(settings, P), SqliteMetadata(tmp_path / "metadata.db", ManualClock(NOW)))
    pq.write_table(table(ROWS[10:20]), tmp_path / "a.parquet")
    insert(tmp_path, ROWS[20:30])
    with contextlib.closing(made.log), contextlib.closing(made.metadata):
        assert accept(made.log, SOURCE, [row(key, n) for key, n in ROWS[:10]], NOW).first_offset is None
        spans = bring(made, tmp_path / "a.parquet").spans + bring_sql(made, tmp_path).spans
        follow(made.log, SOURCE, lines(ROWS[30:]).split(b"\n"))
        assert made.rows() == at_home(ROWS)
        for span in spans:
            assert made.log.start(TOPIC, span.partition) < span.start < span.end <= made.log.end(TOPIC, span.partition)
        assert made.log.partitions("quarantine/visits") == made.log.partitions("intake/visits") == 1
