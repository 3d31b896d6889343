"""What a source remembers: judged row by row as a plain loop would, whatever the batches and whenever it forgets."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features.histories import GROUPS, ORIGIN, SCHEMA, SOURCE, History, histories, log_batch
from tests.features.memory import MemoryOnline
from tests.features.oracle import Happened
from tests.features.replay import Played, ask, differences, last_offset, parts

from skyloom.features.online.fold import Folded, SourceFold
from skyloom.features.online.seen import key_bytes
from skyloom.ingest.codec import decode, event_schema
from skyloom.kernel.entity import entity_key
from skyloom.kernel.units import DAY, HOUR, MINUTE, SECOND

CUTS = st.lists(st.integers(1, 4), max_size=4)
HORIZONS = st.sampled_from([SECOND, 5 * MINUTE, HOUR, 3 * DAY])


def naive(events: list[Happened], horizon: int) -> tuple[list[int], list[int]]:
    """The offsets of fresh and of dead rows. Imported rows behind the horizon are compared with all that ever was fresh."""
    newest, fresh, dead, held = None, list[Happened](), list[int](), dict[str, Happened]()
    for event in events:
        behind = None if newest is None else newest - horizon
        first = held.get(event.row["id"])
        if not event.imported and behind is not None and event.effective < behind:
            dead.append(event.offset)
        elif first is not None and (behind is None or first.effective >= behind):
            pass  # it repeats the copy that is remembered
        elif behind is None or event.effective >= behind or not any(_is_copy(event, each) for each in fresh):
            held[event.row["id"]] = event
            fresh.append(event)
        if not event.imported:
            newest = event.effective if newest is None else max(newest, event.effective)
    return [event.offset for event in fresh], dead


def _is_copy(one: Happened, other: Happened) -> bool:
    return (one.row["id"], one.row["at"]) == (other.row["id"], other.row["at"])


def fold_all(history: History, cuts: list[int], horizon: int, store: MemoryOnline, forgetful: bool) -> list[Folded]:
    """Fold part after part, each by a worker that knows only the store; with ``forgetful`` it forgets after each."""
    folded: list[Folded] = []

    def known(rows: pa.Table) -> Any:
        lake = {copy for each in folded for copy in copies(each.fresh)}
        return np.array([copy in lake for copy in copies(rows)])

    def copies(rows: pa.Table) -> list[Any]:
        return list(zip(rows.column("id").to_pylist(), rows.column("at").to_pylist(), strict=True))

    for part in parts(history, cuts):
        folding = SourceFold(SOURCE, GROUPS, horizon)
        with store.write() as writer:
            folded.append(folding.fold(writer, part, last_offset(part) + 1, 0, known=known))
        if forgetful:
            folding.forget(store, last_offset(part) + 1)
    return folded


def offsets(tables: list[pa.Table]) -> list[int]:
    return [offset for table in tables for offset in table.column("_offset").to_pylist()]


@settings(max_examples=120, deadline=None)
@given(histories(), CUTS, HORIZONS, st.booleans())
def test_rows_are_judged_as_a_plain_loop_judges_them(
    history: History, cuts: list[int], horizon: int, forgetful: bool
) -> None:
    folded = fold_all(history, cuts, horizon, MemoryOnline(), forgetful)
    fresh, dead = naive(history.events, horizon)
    assert offsets([each.fresh for each in folded]) == fresh
    assert offsets([each.dead for each in folded]) == dead
    repeated = offsets([each.repeated for each in folded])
    assert sorted([*fresh, *dead, *repeated]) == [event.offset for event in history.events]


@settings(max_examples=100, deadline=None)
@given(histories(), CUTS, HORIZONS)
def test_what_is_dead_is_in_no_feature_served_or_joined(history: History, cuts: list[int], horizon: int) -> None:
    store = MemoryOnline()
    fresh = pa.concat_tables(
        [event_schema(SCHEMA).empty_table(), *(each.fresh for each in fold_all(history, cuts, horizon, store, True))]
    )
    alive = set(naive(history.events, horizon)[0])
    seen = [
        [event._replace(row={**event.row, "id": event.offset}) for event in batch if event.offset in alive]
        for batch in history.batches
    ]
    only = History([batch for batch in seen if batch], history.questions)
    assert differences(only, [], Played(store, fresh, ask(store, history.questions))) == []


def row(offset: int, key: str, at: int, now: int, *, imported: bool = False) -> Happened:
    return Happened(offset, now, imported, at, {"id": key, "at": at, "who": "UA", "desk": 7, "x": 1.0, "n": 1, "ok": True})


def test_a_duplicate_after_the_horizon_is_dead_and_keys_are_forgotten_by_generations() -> None:
    store, hours, remembered = MemoryOnline(), 60, list[int]()
    for hour in range(hours):
        now = ORIGIN + hour * HOUR
        batch = [row(10 * hour + index, f"k{10 * hour + index}", now, now) for index in range(10)]
        folding = SourceFold(SOURCE, GROUPS, 5 * HOUR)
        with store.write() as writer:
            assert len(folding.fold(writer, decode([log_batch(batch)], SCHEMA), 10 * hour + 10, now).fresh) == 10
        folding.forget(store, 10 * hour + 10)
        remembered.append(sum(len(space) for name, space in store.spaces.items() if name.startswith("seen/")))
    assert max(remembered) <= 10 * 3 * (5 + 1)
    with store.write() as writer:
        again = [row(600, "k3", ORIGIN, ORIGIN + 60 * HOUR), row(601, "k598", ORIGIN + 59 * HOUR, ORIGIN + 60 * HOUR)]
        folded = SourceFold(SOURCE, GROUPS, 5 * HOUR).fold(writer, decode([log_batch(again)], SCHEMA), 602, 0)
    assert [len(folded.fresh), len(folded.repeated), len(folded.dead)] == [0, 1, 1]


def test_a_generation_is_kept_until_its_events_are_in_the_lake() -> None:
    store, folding = MemoryOnline(), SourceFold(SOURCE, GROUPS, HOUR)
    for hour in range(8):
        now = ORIGIN + hour * HOUR
        with store.write() as writer:
            folding.fold(writer, decode([log_batch([row(hour, f"k{hour}", now, now)])], SCHEMA), hour + 1, now)
        folding.forget(store, 2)
    assert sum(len(space) for name, space in store.spaces.items() if name.startswith("seen/")) >= 6


def test_what_was_folded_can_be_judged_again_until_it_is_forgotten() -> None:
    store, folding = MemoryOnline(), SourceFold(SOURCE, GROUPS, HOUR)
    early = [row(0, "a", ORIGIN, ORIGIN), row(1, "a", ORIGIN, ORIGIN), row(2, "b", ORIGIN + 3 * HOUR, ORIGIN + 3 * HOUR)]
    late = [row(3, "c", ORIGIN, ORIGIN + 3 * HOUR), row(4, "b", ORIGIN + 3 * HOUR, ORIGIN + 3 * HOUR)]
    tables = [decode([log_batch([each])], SCHEMA) for each in early] + [decode([log_batch(late)], SCHEMA)]
    with store.write() as writer:
        done = [folding.fold(writer, table, last_offset(table) + 1, 0) for table in tables]
    with store.read() as view:
        again = folding.judged(view, pa.concat_tables(tables))
        assert folding.unsunk(view) == 0
    for name in ("fresh", "repeated", "dead"):
        assert getattr(again, name) == pa.concat_tables([getattr(each, name) for each in done])
    folding.forget(store, 3)
    with store.read() as view:
        assert folding.unsunk(view) == 3
    folding.forget(store, 5)
    with store.read() as view:
        assert folding.unsunk(view) is None


@pytest.mark.parametrize("values", [["", "UA", "é" * 300, "x" * 499, "x" * 500], [1, -7, 2**40], [True, False]])
def test_the_keys_of_a_column_are_the_keys_of_its_values(values: list[Any]) -> None:
    assert key_bytes(pa.chunked_array([values])) == [entity_key(value) for value in values]
