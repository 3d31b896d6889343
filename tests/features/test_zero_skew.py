"""One value everywhere: what the stream folds, what a request is served, what a training set joins, and the oracle."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features import oracle, oracle_sql
from tests.features.histories import GROUPS, ORIGIN, SCHEMA, SOURCE, History, group, histories, log_batch
from tests.features.memory import MemoryOnline
from tests.features.oracle import Happened
from tests.features.replay import (
    Played,
    ask,
    build,
    differences,
    differences_by_time,
    joined,
    joined_by_offset,
    joined_by_time,
    last_offset,
    parts,
    play,
    progress,
)

from skyloom.features.offline import pit
from skyloom.features.online.fold import SourceFold
from skyloom.features.online.lookup import OnlineFeatures
from skyloom.features.spaces import group_position, position, seen_space, tiles_space
from skyloom.ingest.codec import decode, encode_table, event_schema
from skyloom.kernel.columns import arrow_schema
from skyloom.kernel.errors import DataError, Transient
from skyloom.kernel.units import MINUTE
from skyloom.ports.log import LogBatch
from skyloom.stores.online.lmdb import LmdbOnline

HISTORIES = int(os.environ.get("SKYLOOM_HISTORIES", "1000"))
"""Random histories that stream, training set and oracle are compared on; ``make soak`` takes many more."""

PARTS = max(2, HISTORIES // 1000)
"""Tests that the histories are shared out to, so that no core waits for another."""

OF_EACH_LAW = max(50, HISTORIES // 20)
"""Histories that every other law here is tried on: ten times what finds a fault that is put in."""

AT_ONCE = 250
"""Histories that SQL judges at once: a query costs more than what it looks at."""

CUTS = st.lists(st.integers(1, 4), max_size=4)


class Judged:
    """What was said about histories, judged by SQL, many of them at once."""

    def __init__(self) -> None:
        self.histories, self.answers, self.wrong = 0, 0, list[Any]()
        self.told = oracle_sql.Told([], [], [], [])

    def tell(self, history: History, played: Played, by_offset: list[Any], by_time: list[Any]) -> None:
        """Note what was served, where it was, and what the training sets hold."""
        told, log = self.told, progress(played.store)
        for answer, seen, known in zip(played.served, by_offset, by_time, strict=True):
            asked = oracle_sql.Question(len(told.histories), answer.group, answer.entity, answer.t, answer.as_of)
            told.questions.extend([asked, asked._replace(as_of=None)])
            told.answers.extend([seen if answer.values is None else answer.values, known])
        told.histories.append(history)
        told.progress.append(list(zip(log.times.tolist(), log.offsets.tolist(), strict=True)))
        if len(told.histories) == AT_ONCE:
            self.judge()

    def judge(self) -> None:
        """Let SQL judge what was told since the last time."""
        self.histories += len(self.told.histories)
        self.answers += len(self.told.answers)
        self.wrong += oracle_sql.differences(self.told)
        self.told = oracle_sql.Told([], [], [], [])


@pytest.mark.parametrize("part", range(PARTS))
def test_stream_training_set_and_both_oracles_agree_on_every_value(part: int, record_property: Any) -> None:
    sql, many = Judged(), -(-HISTORIES // PARTS)

    @settings(max_examples=many, deadline=None)
    @given(histories(), CUTS)
    def agree(history: History, cuts: list[int]) -> None:
        played = play(history, cuts)
        by_offset, by_time = joined_by_offset(played), joined_by_time(played)
        sql.tell(history, played, by_offset, by_time)
        assert differences(history, cuts, played, by_offset) == []
        assert differences_by_time(history, played, by_time) == []

    agree()
    sql.judge()
    record_property("histories", sql.histories)
    record_property("answers", sql.answers)
    assert sql.wrong == []
    assert sql.histories >= many


@settings(max_examples=OF_EACH_LAW, deadline=None)
@given(histories(), CUTS)
def test_a_live_request_was_served_what_the_training_set_joins_by_time(history: History, cuts: list[int]) -> None:
    streamed = [[event._replace(imported=False) for event in batch] for batch in history.batches]
    played = play(History(streamed, []), cuts, live=True)
    order = pit.by_time(played.fresh, SOURCE, [progress(played.store)])
    answers = joined(played.fresh, played.served, order, [served.t for served in played.served])
    pairs = zip(played.served, answers, strict=True)
    assert [(served, values) for served, values in pairs if served.values not in (None, values)] == []


def contents(store: Any) -> dict[str, Any]:
    """Everything that answers depend on, byte for byte."""
    names = [seen_space(SOURCE.name), *(tiles_space(each) for each in GROUPS)]
    with store.read() as view:
        return {name: list(view.scan(name)) for name in names}


@settings(max_examples=OF_EACH_LAW, deadline=None)
@given(histories(), CUTS, CUTS)
def test_the_store_holds_the_same_bytes_whatever_the_batches_and_restarts(
    history: History, cuts: list[int], others: list[int]
) -> None:
    whole = play(history, cuts)
    again = play(history, others)
    assert contents(whole.store) == contents(again.store)
    assert whole.fresh == again.fresh


def after(history: History, events: list[Happened], stop: int) -> list[Any]:
    """What is served after events that stand, in their order, at the offsets from 0 on, in one batch each."""
    numbered = [[event._replace(offset=offset)] for offset, event in enumerate(events)]
    served = play(History(numbered, history.questions), [stop]).served
    return [answer for answer in served if answer.as_of == len(numbered)]


def values_of(served: list[Any], *, by_offset: bool) -> list[Any]:
    """The values of answers, with those that the order of the log decides between events of one moment, or without."""
    listed = ("first", "last", "first_k", "last_k")
    return [
        [value for a, value in zip(answer.group.aggregates, answer.values, strict=True) if by_offset or a.kind not in listed]
        for answer in served
        if answer.values is not None
    ]


@settings(max_examples=OF_EACH_LAW, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_order_and_repetition_change_no_value(history: History, random: Any) -> None:
    once = oracle.first_copies(history.events, "id")
    mixed = list(once)
    random.shuffle(mixed)
    repeated = mixed + random.choices(once, k=3)
    expected, other = after(history, once, 1), after(history, mixed, 2)
    assert values_of(other, by_offset=False) == values_of(expected, by_offset=False)
    assert [each.values for each in after(history, repeated, len(mixed))] == [each.values for each in other]
    assert [each.values is None for each in other] == [each.values is None for each in expected]


@settings(max_examples=OF_EACH_LAW, deadline=None)
@given(histories(), CUTS, st.integers(0, 5))
def test_a_group_built_from_history_is_the_group_folded_live(history: History, cuts: list[int], late: int) -> None:
    live = play(history, cuts)
    store, fresh = MemoryOnline(), [event_schema(SCHEMA).empty_table()]
    for index, part in enumerate(parts(history, cuts)):
        with store.write() as writer:
            folding = SourceFold(SOURCE, GROUPS if index >= late else GROUPS[:1])
            if index == late and folding.missing(writer) and folding.position(writer):
                build(writer, folding, GROUPS[1], pa.concat_tables(fresh))
            fresh.append(folding.fold(writer, part, last_offset(part) + 1, 0).fresh)
    with store.write() as writer:
        folding = SourceFold(SOURCE, GROUPS)
        for unbuilt in folding.missing(writer):
            build(writer, folding, unbuilt, folding.judged(writer, decode_all(history)).fresh)
    assert contents(store) == contents(live.store)
    assert ask(store, history.questions) == ask(live.store, history.questions)


def decode_all(history: History) -> pa.Table:
    return decode([log_batch(batch) for batch in history.batches], SCHEMA)


@settings(max_examples=40, deadline=None)
@given(histories(), CUTS)
def test_a_group_that_is_still_to_be_built_waits_for_its_history(history: History, cuts: list[int]) -> None:
    store = MemoryOnline()
    tables = parts(history, cuts)
    with store.write() as writer:
        SourceFold(SOURCE, GROUPS[:1]).fold(writer, tables[0], last_offset(tables[0]) + 1, 0)
    for part in tables[1:]:
        with store.write() as writer:
            SourceFold(SOURCE, GROUPS).fold(writer, part, last_offset(part) + 1, 0)
    with store.read() as view:
        assert position(view, group_position(GROUPS[1])) is None
    with pytest.raises(Transient, match="still being built"):
        OnlineFeatures(store, {"by_desk": GROUPS[1]}).read([("by_desk", (7,))], ORIGIN)
    with store.write() as writer:
        folding = SourceFold(SOURCE, GROUPS)
        for unbuilt in folding.missing(writer):
            build(writer, folding, unbuilt, folding.judged(writer, decode_all(history)).fresh)
    assert contents(store) == contents(play(history, cuts).store)


@settings(max_examples=15, deadline=None)
@given(histories(), CUTS)
def test_the_embedded_store_serves_the_same(tmp_path_factory: Any, history: History, cuts: list[int]) -> None:
    store = LmdbOnline(Path(tmp_path_factory.mktemp("online")))
    try:
        played = play(history, cuts, store)
        assert played.served == play(history, cuts).served
        assert contents(store) == contents(play(history, cuts).store)
    finally:
        store.close()


@settings(max_examples=60, deadline=None)
@given(histories())
def test_imported_tables_and_streamed_rows_give_the_same_features(history: History) -> None:
    tables = [decode([log_batch(batch)], SCHEMA).select(list(SCHEMA.names)) for batch in history.batches]
    batches = [
        LogBatch(batch[0].offset, len(batch), batch[0].appended, batch[0].imported, encode_table(table))
        for batch, table in zip(history.batches, tables, strict=True)
    ]
    mixed = [log_batch(events) if i % 2 else batches[i] for i, events in enumerate(history.batches)]
    assert decode(mixed, SCHEMA) == decode(batches, SCHEMA) == decode_all(history)


def test_a_transaction_that_raises_leaves_no_trace() -> None:
    small, large = _row(0, 1.0), [_row(offset, 9e8 * 10**3) for offset in range(1, 8)]
    store = MemoryOnline()
    with store.write() as writer:
        SourceFold(SOURCE, GROUPS).fold(writer, decode([log_batch([small])], SCHEMA), 1, 0)
    before = store.spaces

    def fail() -> None:
        with store.write() as writer:
            SourceFold(SOURCE, GROUPS).fold(writer, decode([log_batch(large)], SCHEMA), 8, 0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.spaces is before
    assert differences(History([[small]], [ORIGIN]), [], Played(store, play_fresh(small), ask(store, [ORIGIN]))) == []


def play_fresh(event: Happened) -> pa.Table:
    return decode([log_batch([event])], SCHEMA)


def _row(offset: int, x: float) -> Happened:
    row = {"id": f"k{offset}", "at": ORIGIN, "who": "UA", "desk": 7, "x": x, "n": 1, "ok": True}
    return Happened(offset, ORIGIN, False, ORIGIN, row)


def test_a_sum_beyond_62_bits_is_an_error_in_the_training_set_too() -> None:
    fresh = decode([log_batch([_row(offset, 9e8 * 10**3) for offset in range(8)])], SCHEMA)
    asked = pit.Asked([pa.chunked_array([["UA"]])], np.array([ORIGIN]), np.array([8]))
    with pytest.raises(DataError, match="62 bits"):
        pit.join(GROUPS[0], SOURCE, fresh, pit.by_offset(fresh), asked)
    assert not np.isnan(pit.join(GROUPS[0], SOURCE, fresh, pit.by_offset(fresh), asked._replace(order=np.array([3])))[0, 0])


def test_one_value_that_no_sum_can_hold_is_an_error_to_who_reads_it() -> None:
    events, store = decode([log_batch([_row(0, 1e300)])], SCHEMA), MemoryOnline()
    with store.write() as writer:
        SourceFold(SOURCE, GROUPS).fold(writer, events, 1, 0)
    with pytest.raises(DataError, match="a sum grew beyond 62 bits"):
        OnlineFeatures(store, {"by_who": GROUPS[0]}).read([("by_who", ("UA",))], ORIGIN)


def test_extremes_take_values_that_no_sum_could_hold() -> None:
    extremes = group("extremes", "who", 0, ("max", "x", MINUTE, MINUTE), ("count", "who", MINUTE, MINUTE))
    events = decode([log_batch([_row(0, 1e300)])], SCHEMA)
    asked = pit.Asked([pa.chunked_array([["UA"]])], np.array([ORIGIN]), np.array([1]))
    assert pit.join(extremes, SOURCE, events, pit.by_offset(events), asked).tolist() == [[1e300, 1.0]]


def test_no_events_are_null_features_and_counts_of_zero() -> None:
    events = event_schema(SCHEMA).empty_table()
    asked = pit.Asked([pa.chunked_array([["UA", None]], pa.string())], np.array([ORIGIN] * 2), np.array([9, 9]))
    table = pit.join(GROUPS[0], SOURCE, events, pit.by_offset(events), asked)
    nothing = [None, None, None, None, 0.0, None, 0.0]
    assert [[None if v != v else v for v in row] for row in table.tolist()] == [nothing, nothing]
    snapshot = OnlineFeatures(MemoryOnline(), {"by_who": GROUPS[0]}).read([("by_who", ("UA",)), ("by_who", (None,))], ORIGIN)
    assert [list(values) for values in snapshot.values] == [nothing, nothing]
    assert snapshot.as_of == {"landings": 0}
    store = MemoryOnline()
    with store.write() as writer:
        assert SourceFold(SOURCE, GROUPS).fold(writer, events, 0, 5).late == 0
    none = pit.Asked([pa.chunked_array([], pa.string())], np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert pit.join(GROUPS[0], SOURCE, events, pit.by_offset(events), none).shape == (0, 7)


def test_equal_values_have_equal_bits_whichever_zero_came_first() -> None:
    bits = []
    for zeros in ([0.0, -0.0], [-0.0, 0.0]):
        store = MemoryOnline()
        with store.write() as writer:
            events = decode([log_batch([_row(offset, zero) for offset, zero in enumerate(zeros)])], SCHEMA)
            SourceFold(SOURCE, GROUPS).fold(writer, events, 2, 0)
        bits.append(contents(store))
    assert bits[0] == bits[1]


def test_event_schema_is_what_the_lake_keeps() -> None:
    assert event_schema(SCHEMA).names == [*arrow_schema(SCHEMA).names, "_offset", "_appended", "_imported"]
