"""The comparison can fail outside the kernel, and of the newer kinds inside it: each of these faults is found by it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from tests.features import oracle_sketches
from tests.features.histories import GROUPS, ORIGIN, History, histories
from tests.features.oracle import Happened
from tests.features.replay import differences, differences_by_time, joined_by_offset, joined_by_time, play
from tests.features.test_algebra import Drawn, program_of
from tests.features.test_algebra import fold as fold_all
from tests.features.test_fold_building import GROUP, Stream, barriers_too_far
from tests.features.test_mutants import CUTS, SEARCH, is_found, use
from tests.features.test_zero_skew import Judged
from tests.features.twin import twin

from skyloom.features.algebra import codes, columns, kernel
from skyloom.features.algebra.columns import effective_times
from skyloom.features.offline import pit
from skyloom.features.online import finished, fold
from skyloom.features.spaces import tiles_space
from skyloom.kernel.columns import evaluate_columns
from skyloom.kernel.records.definitions import AggregateDef
from skyloom.kernel.units import DAY


@pytest.mark.parametrize(
    ("healthy", "broken"),
    [
        pytest.param(
            "_times(_limbs(n, 0), _limbs(n - 1, 0))", "_times(_limbs(n, 0), _limbs(n, 0))", id="variance-over-all-values"
        ),
        pytest.param(
            "- program[row(program, LEVELS, level, 2) + KEEP] - hop",
            "- (program[row(program, LEVELS, level, 2) + KEEP] + hop if hop < 2**52 else 0)",
            id="lifetimes-let-go-of-what-was-before-1970",
        ),
        pytest.param(
            "high -= high % hop_of(program, level)",
            "high -= high % hop_of(program, level) - hop_of(program, level)",
            id="windows-of-the-past-a-hop-longer",
        ),
        pytest.param("low = t - offset - program", "low = t - program", id="windows-of-the-past-that-begin-too-late"),
        pytest.param("if ENTRY * entry >= heap[handle + 1]:", "if False:", id="entries-that-are-not-there"),
        pytest.param("value = 0 if program[slot + KIND] == GREATEST", "value = 0 if False", id="offsets-of-the-greatest"),
        pytest.param("return value if bucket > 0 else -value", "return value", id="quantiles-without-their-sign"),
    ],
)
def test_with_a_broken_kind(monkeypatch: pytest.MonkeyPatch, healthy: str, broken: str) -> None:
    use(monkeypatch, twin(healthy, broken))
    assert is_found()


def test_with_registers_that_are_added() -> None:
    program = program_of(AggregateDef("a", "distinct", "x", 4, 1, size=64))
    drawn = Drawn([float(i % 1_501) for i in range(3_002)], [i % 4 for i in range(3_002)])
    mutant = twin(
        "max((mine >> shift) & 255, (theirs >> shift) & 255)", "((mine >> shift) & 255) + ((theirs >> shift) & 255)"
    )
    healthy, broken = np.empty(1), np.empty(1)
    events = drawn.columns(program)
    assert kernel.read_blob(program.packed, fold_all(program, events, []), 4, healthy) == kernel.OK
    assert mutant.read_blob(program.packed, fold_all(program, events, [], mutant), 4, broken) == kernel.OK
    expected = oracle_sketches.distinct(drawn.values, 64)
    assert healthy.tolist() == [expected]
    assert broken.tolist() != [expected]


def _unknown_conditions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_true(events: pa.Table, where: Any) -> Any:
        return evaluate_columns(where, events).fill_null(True).to_numpy(zero_copy_only=False)

    monkeypatch.setattr(columns, "_is_true", is_true)


def _buckets_off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = codes.buckets
    monkeypatch.setattr(codes, "buckets", lambda values, parts: healthy(values, parts) + (values > 0))


def _two_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = codes.numbers

    def numbers(column: pa.Array) -> Any:
        made = healthy(column)
        return made if not pa.types.is_floating(column.type) else column.fill_null(0.0).to_numpy(zero_copy_only=False)

    monkeypatch.setattr(codes, "numbers", numbers)


def test_with_two_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"who": "UA", "desk": 7, "n": 1, "ok": True, "y": None}
    batch = [
        Happened(i, ORIGIN, False, ORIGIN, {"id": f"k{i}", "at": ORIGIN, "x": zero} | row)
        for i, zero in enumerate((0.0, -0.0))
    ]
    history = History([batch], [ORIGIN])
    assert differences(history, []) == []
    _two_zeros(monkeypatch)
    assert differences(history, []) != []


def _half_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fold, pit):
        healthy = module.entity_codes
        monkeypatch.setattr(module, "entity_codes", lambda parts, healthy=healthy: healthy(parts[:1]))


def _remembered_for_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "step_ms", lambda group: 9 * DAY)


def _squares_of_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = columns._scaled
    monkeypatch.setattr(columns, "_scaled", lambda *given: healthy(*given).astype(np.float64).astype(np.int64))


@pytest.mark.parametrize(
    "fault",
    [
        _unknown_conditions_count,
        _buckets_off_by_one,
        _half_a_key,
        _remembered_for_days,
        _squares_of_floats,
    ],
)
def test_with_a_fault_around_the_kernel(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    fault(monkeypatch)
    assert is_found()


def _no_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built takes in from the lake what the stream puts into it, too."""
    barriers_too_far(monkeypatch, 3)


def _a_stream_that_does_not_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "buildings", lambda view, groups, partition: {})


def handed_over(history: History, *, again: bool) -> Any:
    """The tiles of a group that is built from the second batch on, anew or beside itself, while the stream goes on."""
    stream = Stream(GROUPS[:2] if again else GROUPS[:1])
    for index, batch in enumerate(history.batches):
        if index == 1:
            stream.groups = GROUPS[:2]
            stream.begin()
        stream.fold(batch)
        if index >= 1:
            stream.advance(2)
    while stream.advance(2):
        pass
    return stream.store.spaces.get(tiles_space(GROUP), {})


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("fault", [None, _no_barrier, _a_stream_that_does_not_follow])
def test_with_a_handover_without_its_barrier(monkeypatch: pytest.MonkeyPatch, fault: Any, again: bool) -> None:
    if fault is not None:
        fault(monkeypatch)

    def differs(history: History) -> bool:
        expected = play(history, []).store.spaces.get(tiles_space(GROUP), {})  # type: ignore[attr-defined]
        return len(history.batches) > 1 and handed_over(history, again=again) != expected

    if fault is None:
        with pytest.raises(NoSuchExample):
            find(histories(), differs, settings=settings(SEARCH, max_examples=50))
    else:
        assert find(histories(), differs, settings=SEARCH)


def _imported_rows_without_their_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = pit.by_time

    def by_time(events: pa.Table, source: Any, progress: pit.Progress) -> Any:
        imported = events.column("_imported").to_numpy()
        return healthy(events, source, progress) - np.where(imported, source.delay_ms, 0)

    monkeypatch.setattr(pit, "by_time", by_time)


def _seen_when_they_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_time(events: pa.Table, source: Any, _: pit.Progress) -> Any:
        return effective_times(events.column("at"), events.column("_appended")) + source.delay_ms

    monkeypatch.setattr(pit, "by_time", by_time)


@pytest.mark.parametrize("fault", [_imported_rows_without_their_delay, _seen_when_they_happened])
def test_with_another_moment_at_which_events_are_known(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    fault(monkeypatch)

    def differs(drawn: tuple[History, list[int]]) -> bool:
        return differences_by_time(drawn[0], play(*drawn)) != []

    assert find(st.tuples(histories(), CUTS), differs, settings=SEARCH)


@pytest.mark.parametrize("fault", [None, _unknown_conditions_count, _half_a_key, _seen_when_they_happened])
def test_sql_alone_finds_faults(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    if fault is not None:
        fault(monkeypatch)
    sql = Judged()

    @settings(SEARCH, max_examples=40)
    @given(histories(), CUTS)
    def tell(history: History, cuts: list[int]) -> None:
        played = play(history, cuts)
        sql.tell(history, played, joined_by_offset(played), joined_by_time(played))

    tell()
    sql.judge()
    assert (sql.wrong != []) is (fault is not None)
