"""Groups built part by part beside a stream that goes on: in the end they hold what was always there."""

from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features.histories import GROUPS, ORIGIN, SCHEMA, SOURCE, History, histories, log_batch
from tests.features.memory import MemoryOnline, View
from tests.features.oracle import Happened
from tests.features.replay import ask, build, last_offset, play

from skyloom.features.online import building as module
from skyloom.features.online.building import begin, buildings, restart
from skyloom.features.online.fold import SourceFold
from skyloom.features.online.lookup import OnlineFeatures
from skyloom.features.spaces import POSITIONS, build_position, group_position, pack, tiles_space
from skyloom.features.times import keep_ms
from skyloom.ingest.codec import decode, event_schema
from skyloom.ingest.partitions import SourcePart
from skyloom.kernel.errors import Transient
from skyloom.kernel.records.definitions import FeatureGroupDef

GROUP = GROUPS[1]
STEPS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def tiles(store: MemoryOnline) -> dict[str, Any]:
    """The tiles of every group; of spaces those that hold something."""
    return {name: dict(space) for name, space in store.spaces.items() if name.startswith("tiles/") and space}


def barriers_too_far(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """A fault: barriers stand behind events that the stream puts into what is built."""
    healthy = module._begin

    def begun(writer: Any, group: Any, at: Any, beside: bool) -> None:
        healthy(writer, group, at, beside)
        for each in buildings(writer, [group]).values():
            state = msgspec.structs.replace(each.state, barrier=each.state.barrier + rows)
            writer.put(POSITIONS, build_position(group), msgspec.msgpack.encode(state))

    monkeypatch.setattr(module, "_begin", begun)


class Stream:
    """A source folded batch by batch, a lake of its first copies, and a builder that takes so many offsets at a time."""

    def __init__(self, groups: Any) -> None:
        self.store, self.fresh = MemoryOnline(), event_schema(SCHEMA).empty_table()
        self.groups = groups

    def fold(self, batch: Any) -> None:
        table = decode([log_batch(batch)], SCHEMA)
        with self.store.write() as writer:
            folded = SourceFold(SOURCE, self.groups).fold(writer, table, last_offset(table) + 1, 0)
        self.fresh = pa.concat_tables([self.fresh, folded.fresh])

    def begin(self) -> None:
        with self.store.write() as writer:
            begin(writer, GROUP, [SourcePart(SOURCE)])

    def advance(self, count: int) -> bool:
        """Fold the next ``count`` offsets; whether there is more to do."""
        with self.store.read() as view:
            found = buildings(view, [GROUP])
        if not found:
            return False
        building = found[tiles_space(GROUP)]
        if building.left > 0:
            begin, stop = building.state.position, building.state.position + count
            offsets = self.fresh.column("_offset").to_numpy()
            part = self.fresh.filter(pa.array((offsets >= begin) & (offsets < min(stop, building.state.barrier))))
            with self.store.write() as writer:
                SourceFold(SOURCE, self.groups).advance(writer, building, part, stop)
        else:
            building.take_over(self.store)
        return True


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(0, 5), STEPS)
def test_a_new_group_is_built_while_the_stream_goes_on(history: History, begun: int, steps: list[int]) -> None:
    stream = Stream([GROUPS[0]])
    for index, batch in enumerate(history.batches):
        if index == begun and index:
            stream.groups = GROUPS
            stream.begin()
        stream.fold(batch)
        if index >= begun:
            stream.advance(steps[index % len(steps)])
    if begun == 0 or begun >= len(history.batches):
        stream.groups = GROUPS
    with stream.store.write() as writer:
        folding = SourceFold(SOURCE, GROUPS)
        for each in folding.missing(writer):
            if each is not GROUP:
                build(writer, folding, each, stream.fresh)
    if GROUP in _missing(stream):
        stream.begin()
    while GROUP in _missing(stream):
        with pytest.raises(Transient, match="still being built"):
            OnlineFeatures(stream.store, {"by_desk": GROUP}).read([("by_desk", (7,))], history.questions[0])
        stream.advance(steps[0])
    whole = play(history, [])
    assert tiles(stream.store) == tiles(whole.store)  # type: ignore[arg-type]
    assert ask(stream.store, history.questions) == ask(whole.store, history.questions)


def _missing(stream: Stream) -> list[Any]:
    with stream.store.read() as view:
        return SourceFold(SOURCE, GROUPS).missing(view)


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(1, 4), STEPS, st.booleans())
def test_a_group_is_built_again_while_it_serves(history: History, begun: int, steps: list[int], again: bool) -> None:
    stream = Stream(GROUPS)
    served = play(history, list(range(len(history.batches))))
    answers = []
    for index, batch in enumerate(history.batches):
        if index == begun:
            stream.begin()
        stream.fold(batch)
        answers += ask(stream.store, history.questions)
        if index >= begun:
            stream.advance(steps[index % len(steps)])
            if again and index == begun:
                with stream.store.write() as writer:
                    folding = SourceFold(SOURCE, GROUPS)
                    for building in buildings(writer, GROUPS).values():
                        restart(writer, building, [folding.part])
    stream.begin()
    last = ask(stream.store, history.questions)
    while stream.advance(steps[0]):
        assert ask(stream.store, history.questions) == last
    assert answers == served.served
    assert tiles(stream.store) == tiles(served.store)  # type: ignore[arg-type]


def test_what_has_no_events_any_more_is_gone_after_building_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    history = _many()
    stream, without = Stream(GROUPS), Stream(GROUPS)
    for batch in history:
        stream.fold(batch)
        without.fold([event for event in batch if event.row["desk"] != 7])
    stream.fresh = without.fresh
    stream.begin()
    while stream.advance(3):
        pass
    space = tiles_space(GROUP)
    assert set(stream.store.spaces[space]) == set(without.store.spaces[space])
    assert stream.store.spaces[space] == without.store.spaces[space]
    assert len(stream.store.spaces[space]) == 9


def _many() -> list[Any]:
    def event(offset: int) -> Happened:
        at = ORIGIN + offset
        row = {"id": f"k{offset}", "at": at, "who": "UA", "desk": offset % 10, "x": 1.0, "n": 1, "ok": True}
        return Happened(offset, at, False, at, row)

    return [[event(offset + index) for index in range(10)] for offset in range(0, 40, 10)]


def test_what_is_taken_over_is_kept_as_long_as_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[str, int | None]] = []
    put_many = View.put_many

    def noted(view: View, space: str, pairs: Any, *, keep_ms: int | None = None) -> None:
        kept.append((space, keep_ms))
        put_many(view, space, pairs, keep_ms=keep_ms)

    monkeypatch.setattr(View, "put_many", noted)
    table = FeatureGroupDef("rows", SOURCE.name, GROUP.by, (), {}, 0, attributes=("x",))
    for group, wanted in ((GROUP, keep_ms(GROUP)), (table, None)):
        store, kept[:] = MemoryOnline(), []
        with store.write() as writer:
            writer.put(POSITIONS, group_position(group), pack(1))
            begin(writer, group, [SourcePart(SOURCE)])
            writer.put(f"{tiles_space(group)}/again", b"sx", b"tiles")
        [building] = buildings(View(store.spaces), [group]).values()
        building.take_over(store)
        assert kept == [(tiles_space(group), wanted)]
        assert store.spaces[tiles_space(group)] == {b"sx": b"tiles"}
