"""The logbook: nothing waits for it, nothing is lost without being counted, nothing comes twice, order is kept."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.clock import ManualClock
from skyloom.kernel.errors import Damaged, DataError, Transient
from skyloom.kernel.records.prediction import Receipt
from skyloom.ports import LogBatch, NewBatch
from skyloom.serving.logbook import Logbook, Policy, Room, Sealed
from skyloom.serving.metrics import Metrics
from skyloom.testing.faults import full_disk

DROP, REFUSE = (Policy("m", b"m", refuse, 10_000, {}, {}) for refuse in (False, True))


def receipt(number: int, model: str = "m") -> Receipt:
    return Receipt(f"p{number}", model, 1, "r", "champion", "u", f"k{number}", 0, 0, (), {}, {}, 0.5, 1.0)


class FlakyLog:
    """Keeps what is appended; of the calls whose number is in ``fails`` some raise before and some after it is kept."""

    def __init__(self, fails: frozenset[int] = frozenset(), error: type[Exception] = Transient, most: int = 10**9) -> None:
        self.kept: dict[str, list[LogBatch]] = {}
        self._fails, self._error, self._calls, self._most = fails, error, 0, most
        self.down = False

    def append(self, topic: str, batches: list[NewBatch]) -> list[int]:
        self._calls += 1
        failing = self.down or self._calls - 1 in self._fails
        if self.down or (failing and self._calls % 2):
            raise self._error("the disk is full")
        for batch in batches:
            if len(batch.payload) > self._most:
                raise DataError("too large")
            kept = self.kept.setdefault(topic, [])
            kept.append(LogBatch(self.end(topic), batch.count, 0, False, batch.payload))
        if failing:
            raise self._error("whether it is there is not known")
        return [0]

    def read(self, topic: str, offset: int) -> list[LogBatch]:
        return [batch for batch in self.kept.get(topic, []) if batch.end > offset][:3]

    def end(self, topic: str) -> int:
        return sum(batch.count for batch in self.kept.get(topic, []))

    def ids(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for topic, batches in self.kept.items():
            for batch in batches:
                receipts = msgspec.msgpack.decode(batch.payload, type=list[Receipt])
                assert len(receipts) == batch.count
                found.setdefault(topic, []).extend(each.id for each in receipts)
        return found


def make(log: Any, folder: Path, waiting: int = 1 << 30, segment: int = 1 << 16) -> tuple[Logbook, Metrics]:
    metrics = Metrics()
    return Logbook(log, ManualClock(0), metrics, folder, secret=b"s", room=Room(waiting, segment)), metrics


def count(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=8),
    fails=st.frozensets(st.integers(0, 5), max_size=4),
    error=st.sampled_from([Transient, Damaged, OSError, RuntimeError]),
    segment=st.sampled_from([500, 4_096, 1 << 16]),
)
def test_whatever_the_log_does_every_receipt_arrives_once_and_in_order(
    sizes: list[int], fails: frozenset[int], error: type[Exception], segment: int, tmp_path_factory: Any
) -> None:
    log = FlakyLog(fails, error)
    folder = tmp_path_factory.mktemp("logbook")
    logbook, metrics = make(log, folder, segment=segment)
    logbook.start()
    number, sent = 0, {"a": list[str](), "b": list[str]()}
    for size in sizes:
        for model in ("a", "b"):
            batch = [receipt(number + i, model) for i in range(size)]
            number += size
            sent[model] += [each.id for each in batch]
            assert logbook.add(DROP._replace(model=model, name=model.encode()), batch)
    assert logbook.close(10.0)
    assert log.ids() == {f"predictions/{model}": ids for model, ids in sent.items() if ids}
    assert count(metrics, "skyloom_logbook_written_total") == number
    assert count(metrics, "skyloom_logbook_queue") == 0
    assert list(folder.iterdir()) == [], "what is in the log is not kept here"


def test_receipts_by_column_go_the_same_way(tmp_path: Path) -> None:
    log = FlakyLog()
    logbook, _ = make(log, tmp_path)
    logbook.start()
    for size in (1, 15, 16, 70_000):
        rows = b"".join(msgspec.msgpack.encode(receipt(i)) for i in range(size))
        assert logbook.seal(DROP, Sealed(size, lambda rows=rows: rows))
    assert logbook.close(20.0)
    assert len(log.ids()["predictions/m"]) == 70_032


def test_what_is_too_large_for_the_log_goes_in_parts(tmp_path: Path) -> None:
    log = FlakyLog(most=1_000)
    logbook, metrics = make(log, tmp_path)
    long = msgspec.structs.replace(receipt(7), error="x" * 2_000)
    logbook.add(DROP, [*map(receipt, range(7)), long, receipt(8)])
    logbook.start()
    assert logbook.close(10.0)
    assert log.ids()["predictions/m"] == [f"p{i}" for i in (*range(7), 8)]
    assert count(metrics, "skyloom_logbook_dropped_total", reason="refused") == 1


@pytest.mark.parametrize("policy", [DROP, REFUSE])
def test_beyond_the_limit_the_policy_decides(policy: Policy, tmp_path: Path) -> None:
    logbook, metrics = make(FlakyLog(), tmp_path, waiting=1_000)
    kept = 0
    assert not logbook.refuses(policy)
    while logbook.add(policy, [receipt(kept)]):
        kept += 1
    assert logbook.refuses(policy) is policy.refuse
    assert count(metrics, "skyloom_logbook_queue") == kept
    assert 1_000 <= count(metrics, "skyloom_logbook_bytes") < 1_400
    assert not logbook.add(policy, [receipt(i) for i in range(5)])
    assert count(metrics, "skyloom_logbook_dropped_total", reason="limit") == 6
    logbook.start()
    assert logbook.close(10.0)


def test_on_a_full_disk_the_policy_decides_and_what_the_log_takes_makes_room(tmp_path: Path) -> None:
    log = FlakyLog()
    log.down = True
    logbook, metrics = make(log, tmp_path, segment=1_500_000)
    logbook.start()
    number = 0
    with full_disk(1_000_000):
        while logbook.add(REFUSE, [receipt(number)]):
            number += 1
        assert number > 1_000
        assert logbook.refuses(REFUSE)
        assert not logbook.refuses(DROP)
        assert count(metrics, "skyloom_logbook_dropped_total", reason="disk") == 1
        log.down = False
        until(lambda: count(metrics, "skyloom_logbook_queue") == 0)
        until(lambda: logbook.add(REFUSE, [receipt(number)]))
    assert logbook.close(10.0)
    assert log.ids()["predictions/m"] == [f"p{i}" for i in range(number + 1)]


def test_without_a_folder_to_write_to_nothing_stops(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    logbook, metrics = make(FlakyLog(), tmp_path / "file" / "logbook")
    logbook.start()
    assert not logbook.add(DROP, [receipt(0)])
    assert logbook.refuses(REFUSE)
    assert count(metrics, "skyloom_logbook_dropped_total", reason="disk") == 1
    assert logbook.close(10.0)


def test_what_the_log_does_not_take_before_the_end_waits_for_the_next_process(tmp_path: Path) -> None:
    log = FlakyLog()
    log.down = True
    logbook, metrics = make(log, tmp_path)
    logbook.start()
    logbook.add(DROP, [receipt(0), receipt(1)])
    assert not logbook.close(0.2)
    assert count(metrics, "skyloom_logbook_failures_total") > 0
    log.down = False
    after, metrics = make(log, tmp_path)
    assert count(metrics, "skyloom_logbook_oldest_seconds") == 0
    after.start()
    until(lambda: log.ids() == {"predictions/m": ["p0", "p1"]})
    assert after.close(10.0)


def test_the_oldest_receipt_has_an_age(tmp_path: Path) -> None:
    logbook, metrics = make(FlakyLog(), tmp_path)
    logbook.add(DROP, [receipt(0)])
    age = count(metrics, "skyloom_logbook_oldest_seconds")
    until(lambda: count(metrics, "skyloom_logbook_oldest_seconds") > age)
    logbook.start()
    assert logbook.close(10.0)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)
