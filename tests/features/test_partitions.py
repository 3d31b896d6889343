"""A source in several partitions: whatever the order in which they are folded, served and joined values are the oracle's."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from tests.features import oracle
from tests.features.histories import GROUPS, SCHEMA, SOURCE, History, histories, log_batch
from tests.features.memory import MemoryOnline
from tests.features.oracle import Happened
from tests.features.replay import ENTITIES, TYPES, last_offset
from tests.features.test_mutants import SEARCH
from tests.features.test_zero_skew import HISTORIES

from skyloom.features.offline import history as history_module
from skyloom.features.offline import moments
from skyloom.features.offline.history import Requests, Wanted, features_of, rules_of
from skyloom.features.offline.moments import moments_of
from skyloom.features.online.building import begin as begin_building
from skyloom.features.online.building import buildings, complete
from skyloom.features.online.fold import SourceFold
from skyloom.features.online.lookup import OnlineFeatures
from skyloom.features.spaces import tiles_space
from skyloom.ingest.codec import decode, event_schema
from skyloom.ingest.partitions import SourcePart, partition_of
from skyloom.kernel.errors import DataError, Transient

COUNTS = st.integers(2, 4)
TURNS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


class Dealt(NamedTuple):
    """A history dealt over partitions: the batches of each, with offsets in the source."""

    partitions: list[list[list[Happened]]]

    @property
    def events(self) -> list[Happened]:
        return [event for partition in self.partitions for batch in partition for event in batch]

    def table(self, partition: int, batch: int) -> pa.Table:
        count = len(self.partitions)
        rows = self.partitions[partition][batch]
        logged = [event._replace(offset=event.offset // count) for event in rows]
        return decode([log_batch(logged)], SCHEMA, partition, count)


class Answer(NamedTuple):
    group: Any
    entity: tuple[Any, ...]
    t: int
    as_of: dict[str, int]
    values: list[float | None] | None


def deal(history: History, count: int) -> Dealt:
    dealt: list[list[list[Happened]]] = [[] for _ in range(count)]
    ends = [0] * count
    for batch in history.batches:
        for partition in range(count):
            mine = [event for event in batch if partition_of(event.row["id"], count) == partition]
            if mine:
                first, ends[partition] = ends[partition], ends[partition] + len(mine)
                dealt[partition].append(
                    [event._replace(offset=(first + i) * count + partition) for i, event in enumerate(mine)]
                )
    return Dealt(dealt)


class Run:
    """One store that follows the partitions in the order of ``turns``, and is asked after each."""

    def __init__(self, dealt: Dealt, turns: list[int], questions: list[int]) -> None:
        self.dealt, self.store = dealt, MemoryOnline()
        self.fresh, self.answers = [event_schema(SCHEMA).empty_table()], list[Answer]()
        self.moments: list[tuple[int, str, int]] = []
        self.lookup = OnlineFeatures(self.store, {group.name: group for group in GROUPS})
        left = [len(each) for each in dealt.partitions]
        now = 0
        while any(left):
            for turn in turns:
                partition = turn % len(left)
                if left[partition]:
                    now = self.fold(partition, len(dealt.partitions[partition]) - left[partition], now)
                    left[partition] -= 1
                    self.ask(questions)
            if all(turn % len(left) not in {p for p, n in enumerate(left) if n} for turn in turns):
                turns = list(range(len(left)))

    def fold(self, partition: int, batch: int, now: int) -> int:
        table, count = self.dealt.table(partition, batch), len(self.dealt.partitions)
        now = max(now + 1, self.dealt.partitions[partition][batch][0].appended)
        end = (last_offset(table) // count + 1) * count
        with self.store.write() as writer:
            folding = SourceFold(SOURCE, GROUPS, partition=partition, partitions=count)
            self.fresh.append(folding.fold(writer, table, end, now).fresh)
        self.moments.append((now, f"{SOURCE.name}/{partition}", end))
        return now

    def ask(self, questions: list[int]) -> None:
        for t in questions:
            for group in GROUPS:
                for entity in ENTITIES[group.by]:
                    try:
                        found = self.lookup.read([(group.name, entity)], t)
                        self.answers.append(Answer(group, entity, t, found.as_of, list(found.values[0])))
                    except DataError:
                        as_of = self.lookup.read([(group.name, (None,))], t).as_of
                        self.answers.append(Answer(group, entity, t, as_of, None))


class Table:
    """A lake of one table."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def version(self, table: str) -> int:
        return 0

    def scan(self, table: str, *, columns: Any = None, version: Any = None, where: Any = None) -> Any:
        return iter(self.rows.select(columns).to_batches())


def joined(run: Run, answers: list[Answer], fresh: pa.Table, mode: str) -> list[list[float | None]]:
    """What a training set holds for the same questions."""
    found: list[list[float | None]] = [[] for _ in answers]
    for group in GROUPS:
        mine = [at for at, answer in enumerate(answers) if answer.group is group]
        columns = {
            name: pa.array([answers[at].entity[part] for at in mine], TYPES[name]) for part, name in enumerate(group.by)
        }
        t = np.array([answers[at].t for at in mine], np.int64)
        seen = None if mode == "as_available" else [answers[at].as_of for at in mine]
        requests = Requests(pa.table(columns), t, seen)
        rules = rules_of("as_available", SOURCE, requests, run.store)  # type: ignore[arg-type]
        [values] = features_of(SOURCE, [Wanted(group, group.by)], requests, rules, Table(fresh))  # type: ignore[arg-type]
        for at, row in zip(mine, values.tolist(), strict=True):
            found[at] = [None if value != value else value for value in row]
    return found


def expected(dealt: Dealt, answer: Answer) -> tuple[list[float | None], bool]:
    count = len(dealt.partitions)
    visible = [
        event
        for event in oracle.first_copies(dealt.events, "id")
        if event.offset < answer.as_of.get(f"{SOURCE.name}/{event.offset % count}", 0)
    ]
    refused = oracle.refused(answer.group, visible, answer.entity, answer.t)
    return oracle.features(answer.group, visible, answer.entity, answer.t), refused


def differences(dealt: Dealt, run: Run, answers: list[Answer], fresh: pa.Table) -> list[Any]:
    found: list[Any] = []
    for answer, values in zip(answers, joined(run, answers, fresh, "as_served"), strict=True):
        right, refused = expected(dealt, answer)
        served = right if answer.values is None and refused else answer.values
        if not (served == right == values and (answer.values is None) is refused):
            found.append((answer, values, right))
    return found


@settings(max_examples=max(60, HISTORIES // 20), deadline=None)
@given(histories(), COUNTS, TURNS)
def test_served_joined_and_naive_are_equal_over_partitions(history: History, count: int, turns: list[int]) -> None:
    dealt = deal(history, count)
    run = Run(dealt, turns, history.questions)
    assert differences(dealt, run, run.answers, pa.concat_tables(run.fresh)) == []


@settings(max_examples=40, deadline=None)
@given(histories(), COUNTS, TURNS, TURNS)
def test_tiles_do_not_depend_on_the_order_of_partitions(
    history: History, count: int, turns: list[int], others: list[int]
) -> None:
    dealt = deal(history, count)
    one, other = Run(dealt, turns, []), Run(dealt, others, [])
    for group in GROUPS:
        assert one.store.spaces.get(tiles_space(group), {}) == other.store.spaces.get(tiles_space(group), {})


@settings(max_examples=40, deadline=None)
@given(histories(), COUNTS, TURNS, TURNS)
def test_moments_of_a_store_that_was_lost_and_filled_again_are_joined_too(
    history: History, count: int, turns: list[int], others: list[int]
) -> None:
    dealt = deal(history, count)
    one, other = Run(dealt, turns, history.questions), Run(dealt, others, history.questions)
    answers = [*one.answers, *other.answers]
    assert differences(dealt, other, answers, pa.concat_tables(one.fresh)) == []


@settings(max_examples=60, deadline=None)
@given(histories(), COUNTS, TURNS)
def test_what_was_available_is_told_by_each_partitions_progress(history: History, count: int, turns: list[int]) -> None:
    dealt = deal(history, count)
    run = Run(dealt, turns, history.questions)
    asked = [answer._replace(t=now) for answer, now in zip(run.answers, _after(run, history), strict=True)]

    def visible(event: Happened, t: int) -> bool:
        if event.imported:
            return event.effective + SOURCE.delay_ms < t
        place = f"{SOURCE.name}/{event.offset % count}"
        return any(where == place and event.offset < end and now <= t for now, where, end in run.moments)

    events = oracle.first_copies(dealt.events, "id")
    for answer, values in zip(asked, joined(run, asked, pa.concat_tables(run.fresh), "as_available"), strict=True):
        there = [event for event in events if visible(event, answer.t)]
        assert values == oracle.features(answer.group, there, answer.entity, answer.t)


def _after(run: Run, history: History) -> list[int]:
    """A moment for each answer: when what it was asked after had just been folded."""
    each = len(run.answers) // max(1, len(run.moments))
    return [now for now, _, _ in run.moments for _ in range(each)]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda p: st.lists(st.lists(st.integers(0, 5), min_size=p, max_size=p), min_size=1, max_size=12)
    )
)
def test_a_request_sees_what_is_before_its_position_in_each_partition(saw: list[tuple[int, ...]]) -> None:
    count = len(saw[0])
    offsets = np.arange(6 * count)
    events = pa.table({"_offset": offsets})
    told: dict[int, list[int]] = {}
    for rows, found, asked in moments_of(np.array(saw) * count):
        for row, order in zip(rows.tolist(), asked.tolist(), strict=True):
            assert row not in told
            told[row] = offsets[found.order(events) < order].tolist()
    assert sorted(told) == list(range(len(saw)))
    for row, visible in told.items():
        assert visible == [offset for offset in offsets.tolist() if offset // count < saw[row][offset % count]]


def test_a_chain_of_moments_is_one_sequence() -> None:
    assert len(moments_of(np.array([[0, 0], [2, 0], [2, 2], [4, 2]]))) == 1
    assert len(moments_of(np.array([[0, 2], [2, 0], [2, 2], [4, 2]]))) == 2


class Built:
    """A group that is built from all partitions while they are folded on."""

    def __init__(self, dealt: Dealt, groups: Any) -> None:
        self.dealt, self.store, self.groups = dealt, MemoryOnline(), groups
        self.fresh = event_schema(SCHEMA).empty_table()
        self.count = len(dealt.partitions)
        self.parts = [SourcePart(SOURCE, partition, self.count) for partition in range(self.count)]

    def folding(self, partition: int) -> SourceFold:
        return SourceFold(SOURCE, self.groups, partition=partition, partitions=self.count)

    def fold(self, partition: int, batch: int) -> None:
        table = self.dealt.table(partition, batch)
        with self.store.write() as writer:
            end = (last_offset(table) // self.count + 1) * self.count
            self.fresh = pa.concat_tables([self.fresh, self.folding(partition).fold(writer, table, end, 0).fresh])

    def advance(self, partition: int, offsets: int) -> bool:
        """Build the next part from a partition, or take over; whether something was done."""
        with self.store.read() as view:
            found = list(buildings(view, GROUPS, partition).values())
            whole = [each for each in found if each.left <= 0 and partition == 0 and complete(view, each.group, self.count)]
        for building in found:
            if building.left > 0:
                begin, stop = building.state.position, building.state.position + offsets * self.count
                numbers = self.fresh.column("_offset").to_numpy()
                mine = (
                    (numbers >= begin) & (numbers < min(stop, building.state.barrier)) & (numbers % self.count == partition)
                )
                with self.store.write() as writer:
                    self.folding(partition).advance(writer, building, self.fresh.filter(pa.array(mine)), stop)
                return True
        for building in whole:
            building.take_over(self.store, self.count)
        return bool(whole)

    def finish(self) -> None:
        while sum(self.advance(partition, 2) for partition in range(self.count)):
            pass


@pytest.mark.parametrize("again", [False, True])
@settings(max_examples=30, deadline=None)
@given(histories(), COUNTS, TURNS, st.integers(0, 8))
def test_a_group_is_built_from_all_partitions(
    again: bool, history: History, count: int, turns: list[int], begun: int
) -> None:
    dealt = deal(history, count)
    built = Built(dealt, GROUPS if again else GROUPS[:1])
    order = [(p, b) for p, batches in enumerate(dealt.partitions) for b in range(len(batches))]
    order.sort(key=lambda pair: (pair[1], turns[pair[0] % len(turns)]))
    for step, (partition, batch) in enumerate(order):
        if step == begun:
            begin(built, again)
        built.fold(partition, batch)
        if step >= begun:
            built.advance(turns[step % len(turns)] % count, 1)
    if begun >= len(order):
        begin(built, again)
    built.finish()
    whole = Run(dealt, turns, [])
    assert {k: v for k, v in built.store.spaces.items() if k.startswith("tiles/") and v} == {
        k: v for k, v in whole.store.spaces.items() if k.startswith("tiles/") and v
    }
    lookup = OnlineFeatures(built.store, {group.name: group for group in GROUPS})  # type: ignore[arg-type]
    assert lookup.read([(group.name, (None,) * len(group.by)) for group in GROUPS], history.questions[0])


def begin(built: Built, again: bool) -> None:
    built.groups = GROUPS
    if again:
        with built.store.write() as writer:
            begin_building(writer, GROUPS[1], built.parts)
    built.folding(0).begin_missing(built.store)  # type: ignore[arg-type]


def test_a_group_that_was_left_out_of_one_partition_is_built_again() -> None:
    history = find(histories(), lambda each: len(deal(each, 2).partitions[0]) > 1 and len(deal(each, 2).partitions[1]) > 1)
    dealt = deal(history, 2)
    built = Built(dealt, GROUPS)
    built.fold(0, 0)
    built.fold(1, 0)
    built.groups = GROUPS[:1]
    built.fold(1, 1)
    built.groups = GROUPS
    built.fold(0, 1)
    lookup = OnlineFeatures(built.store, {"by_desk": GROUPS[1]})  # type: ignore[arg-type]
    with pytest.raises(Transient, match="still being built"):
        lookup.read([("by_desk", (7,))], history.questions[0])
    built.folding(0).begin_missing(built.store)  # type: ignore[arg-type]
    with pytest.raises(Transient, match="still being built"):
        lookup.read([("by_desk", (7,))], history.questions[0])
    built.finish()
    with built.store.read() as view:
        assert built.folding(0).missing(view) == built.folding(1).missing(view) == []


def _scalar_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault: the newest partition's position decides for all."""
    healthy = history_module.saw_of
    monkeypatch.setattr(
        history_module, "saw_of", lambda *args: np.repeat(healthy(*args).max(axis=1, keepdims=True), args[2], axis=1)
    )


def _one_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault: moments are numbered as if one store had shown them."""
    monkeypatch.setattr(moments, "_sequences", lambda each: np.zeros(len(each), np.int64))


@pytest.mark.parametrize("fault", [_scalar_positions, _one_sequence])
def test_a_fault_in_the_moments_is_found(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    fault(monkeypatch)

    def differs(history: History) -> bool:
        dealt = deal(history, 2)
        one, other = Run(dealt, [0, 0, 1], history.questions), Run(dealt, [1, 1, 0], history.questions)
        answers = [*one.answers, *other.answers]
        return differences(dealt, other, answers, pa.concat_tables(one.fresh)) != []

    assert find(histories(), differs, settings=SEARCH)
