"""The logbook: nothing waits for it, nothing is lost without being counted, order is kept."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.clock import ManualClock
from skyloom.kernel.errors import Transient
from skyloom.kernel.records.prediction import Receipt
from skyloom.ports import NewBatch
from skyloom.serving.logbook import Logbook, WhenFull
from skyloom.serving.metrics import Metrics


def receipt(number: int, model: str = "m") -> Receipt:
    return Receipt(f"p{number}", model, 1, "r", "champion", "u", "u", 0, 0, (), {}, {}, 0.5, 1.0)


class FlakyLog:
    """Keeps what is appended; the appends whose number is in ``fails`` raise and keep nothing."""

    def __init__(self, fails: frozenset[int] = frozenset(), error: type[Exception] = Transient) -> None:
        self.kept: dict[str, list[str]] = {}
        self._fails, self._error, self._calls = fails, error, 0

    def append(self, topic: str, batches: list[NewBatch]) -> list[int]:
        self._calls += 1
        if self._calls - 1 in self._fails:
            raise self._error("the disk is full")
        for batch in batches:
            receipts = msgspec.msgpack.decode(batch.payload, type=list[Receipt])
            assert len(receipts) == batch.count
            self.kept.setdefault(topic, []).extend(each.id for each in receipts)
        return [0]


def make(log: Any, capacity: int = 1_000, when_full: WhenFull = WhenFull.DROP) -> tuple[Logbook, Metrics]:
    metrics = Metrics()
    return Logbook(log, ManualClock(0), metrics, when_full, capacity), metrics


def count(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=8),
    fails=st.frozensets(st.integers(0, 3), max_size=3),
    error=st.sampled_from([Transient, OSError, RuntimeError]),
)
def test_whatever_the_log_does_every_receipt_arrives_once_and_in_order(
    sizes: list[int], fails: frozenset[int], error: type[Exception]
) -> None:
    log = FlakyLog(fails, error)
    logbook, metrics = make(log)
    logbook.start()
    number, sent = 0, {"a": list[str](), "b": list[str]()}
    for size in sizes:
        batch = [receipt(number + i, "ab"[(number + i) % 2]) for i in range(size)]
        number += size
        for each in batch:
            sent[each.model].append(each.id)
        logbook.add(batch)
    assert logbook.close(10.0)
    assert log.kept == {f"predictions/{model}": ids for model, ids in sent.items() if ids}
    assert count(metrics, "skyloom_logbook_written_total") == number
    assert count(metrics, "skyloom_logbook_dropped_total") == 0


@given(capacity=st.integers(0, 30), sizes=st.lists(st.integers(0, 20), max_size=6))
def test_what_finds_no_room_is_counted(capacity: int, sizes: list[int]) -> None:
    logbook, metrics = make(FlakyLog(), capacity)
    for size in sizes:
        logbook.add([receipt(i) for i in range(size)])
    assert count(metrics, "skyloom_logbook_queue") == min(sum(sizes), capacity)
    assert count(metrics, "skyloom_logbook_dropped_total") == max(sum(sizes) - capacity, 0)


@pytest.mark.parametrize("when_full", WhenFull)
def test_only_one_policy_refuses(when_full: WhenFull) -> None:
    logbook, _ = make(FlakyLog(), 3, when_full)
    assert not logbook.refuses(3)
    logbook.add([receipt(0)])
    assert not logbook.refuses(2)
    assert logbook.refuses(3) is (when_full is WhenFull.REFUSE)


def test_the_end_does_not_wait_for_a_log_that_stays_broken() -> None:
    logbook, metrics = make(FlakyLog(frozenset(range(10_000))))
    logbook.start()
    logbook.add([receipt(0)])
    assert not logbook.close(0.2)
    failures = count(metrics, "skyloom_logbook_failures_total")
    assert failures is not None
    assert failures > 0
