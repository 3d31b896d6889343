"""The way in for streams: good rows into the log, the others into quarantine, both told."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skyloom.ingest.codec import decode
from skyloom.ingest.gateway import Accepted, Rejection, accept, accept_many
from skyloom.kernel.errors import Transient
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.ports.log import LogBatch, NewBatch

NOW = 1_364_800_000_000
SCHEMA = Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP), Field("x", Type.FLOAT, True)), "id", "at")
SOURCE = SourceDef("arrivals", SCHEMA, limits={"x": 1e9})


class MemoryLog:
    """A log of one partition in lists; ``full`` topics cannot be written."""

    def __init__(self, full: str = "") -> None:
        self.topics: dict[str, list[LogBatch]] = {}
        self.appends: list[str] = []
        self.full = full

    def partitions(self, topic: str) -> int:
        return 1

    def append(self, topic: str, batches: Sequence[NewBatch], partition: int = 0) -> list[int]:
        if topic == self.full:
            raise Transient("the disk is full")
        self.appends.append(topic)
        firsts = []
        for new in batches:
            first = self.end(topic)
            firsts.append(first)
            self.topics.setdefault(topic, []).append(LogBatch(first, new.count, new.appended_ms, new.imported, new.payload))
        return firsts

    def read(self, topic: str, offset: int, max_rows: int = 65_536) -> list[LogBatch]:
        return [batch for batch in self.topics.get(topic, []) if batch.end > offset]

    def end(self, topic: str) -> int:
        return self.topics[topic][-1].end if self.topics.get(topic) else 0

    def truncate(self, topic: str, before: int) -> None:
        self.topics[topic] = [batch for batch in self.topics[topic] if batch.end > before]

    def close(self) -> None:
        self.topics.clear()

    def ids(self) -> list[str]:
        return decode(self.read("events/arrivals", 0), SCHEMA).column("id").to_pylist()

    def quarantined(self) -> list[list[Any]]:
        return [row for batch in self.read("quarantine/arrivals", 0) for row in msgspec.msgpack.decode(batch.payload)]


def row(key: Any, **changed: Any) -> dict[str, Any]:
    return {"id": key, "at": NOW, "x": 1.0, **changed}


def test_good_rows_are_appended_and_bad_ones_quarantined_in_order() -> None:
    log = MemoryLog()
    rows = [row("a"), row(3), row("b", at="2013-04-01T00:00:00Z"), row("c", x=2e9), "nonsense", row("", x=None), row("d")]
    answer = accept(log, SOURCE, rows, NOW)
    told = (
        Rejection(1, "id: expected a string, got int"),
        Rejection(3, "x: larger than 1e+09, which sums at its precision cannot hold"),
        Rejection(4, "expected an object, got str"),
        Rejection(5, "id: empty"),
    )
    assert answer == Accepted(3, told, 0)
    assert log.ids() == ["a", "b", "d"]
    assert [(reason, json.loads(text), origin, at) for reason, text, origin, at in log.quarantined()] == [
        (rejection.reason, rows[rejection.index], "stream", NOW) for rejection in told
    ]
    [batch] = log.read("events/arrivals", 0)
    assert (batch.appended_ms, batch.imported, batch.count) == (NOW, False, 3)


def test_several_requests_share_one_append_and_each_gets_its_own_offsets() -> None:
    log = MemoryLog()
    accept(log, SOURCE, [row("before")], NOW)
    log.appends.clear()
    requests = [[row("a"), row("b")], [row(None)], [], [row("c"), row(1)]]
    answers = accept_many(log, SOURCE, requests, NOW + 1)
    assert [(answer.accepted, answer.first_offset, len(answer.rejected)) for answer in answers] == [
        (2, 1, 0),
        (0, None, 1),
        (0, None, 0),
        (1, 3, 1),
    ]
    assert log.ids() == ["before", "a", "b", "c"]
    assert log.appends == ["events/arrivals", "quarantine/arrivals"]
    assert log.end("quarantine/arrivals") == 2


def test_nothing_to_append_writes_nothing() -> None:
    log = MemoryLog()
    assert accept(log, SOURCE, [], NOW) == Accepted(0, (), None)
    assert log.appends == []


def test_what_a_full_log_refused_is_kept_once_when_it_is_sent_again() -> None:
    log = MemoryLog(full="events/arrivals")
    for _ in range(3):
        with pytest.raises(Transient):
            accept(log, SOURCE, [row("a"), row(1)], NOW)
    assert log.ids() == log.quarantined() == []
    log.full = ""
    assert accept(log, SOURCE, [row("a"), row(1)], NOW).accepted == 1
    assert (log.ids(), len(log.quarantined())) == (["a"], 1)


def test_rows_whose_rejects_cannot_be_kept_are_not_acknowledged() -> None:
    log = MemoryLog(full="quarantine/arrivals")
    with pytest.raises(Transient):
        accept(log, SOURCE, [row("a"), row(1)], NOW)
    log.full = ""
    accept(log, SOURCE, [row("a"), row(1)], NOW)
    assert (set(log.ids()), len(log.quarantined())) == ({"a"}, 1)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("bad", "kept"),
    [
        (row("a", x=_nested(5_000)), "dict, nested too deeply to be kept"),
        (row("\ud800"), {"id": "\ud800", "at": NOW, "x": 1.0}),
        (row("a", x=float("nan")), {"id": "a", "at": NOW, "x": None}),
        (row("a", x=10**400), {"id": "a", "at": NOW, "x": 10**400}),
        (row("a", other=2**200), {"id": "a", "at": NOW, "x": 1.0, "other": 2**200}),
        (_nested(5_000), "list, nested too deeply to be kept"),
    ],
)
def test_whatever_is_refused_is_kept_and_breaks_no_other_row(bad: Any, kept: Any) -> None:
    log = MemoryLog()
    answer = accept(log, SOURCE, [row("before"), bad, row("after")], NOW)
    assert answer.accepted == 2
    assert log.ids() == ["before", "after"]
    [[reason, text, _, _]] = log.quarantined()
    assert reason == answer.rejected[0].reason
    assert json.loads(text) == kept


_any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=6,
)
_row = st.fixed_dictionaries({"id": st.sampled_from(["a", "b", ""]) | _any, "at": st.integers(-1, NOW) | _any, "x": _any})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(_row | _any, max_size=5), max_size=3))
@example([[{"\ud800": None}]])
def test_every_row_is_accepted_or_kept_with_its_reason(requests: list[list[Any]]) -> None:
    log = MemoryLog()
    answers = accept_many(log, SOURCE, requests, NOW)
    assert [answer.accepted + len(answer.rejected) for answer in answers] == [len(rows) for rows in requests]
    assert log.end("events/arrivals") == sum(answer.accepted for answer in answers) == len(log.ids())
    assert [row[0] for row in log.quarantined()] == [rejection.reason for a in answers for rejection in a.rejected]
    good = [
        rows[index]["id"]
        for answer, rows in zip(answers, requests, strict=True)
        for index in range(len(rows))
        if index not in {rejection.index for rejection in answer.rejected}
    ]
    assert log.ids() == good
