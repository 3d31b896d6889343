"""The compiled kernel beside the same source run as plain Python: equal to the last bit, also in the store's bytes."""

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features.twin import twin

from skyloom.features.algebra import exact, kernel
from skyloom.features.algebra.columns import EventColumns
from skyloom.features.algebra.program import Program, compile_group
from skyloom.features.offline.pit import SortedRequests
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef

PLAIN = twin()
NO_CODES = np.zeros((0, 0), np.int64)
KINDS = ("count", "sum", "mean", "min", "max")


def program_of(*aggregates: tuple[str, str | None, int, int], lateness: int = 0, digits: int = 2) -> Program:
    made = tuple(AggregateDef(f"a{i}", *aggregate) for i, aggregate in enumerate(aggregates))
    return compile_group(FeatureGroupDef("g", "s", ("k",), made, {"x": digits, "y": digits}, lateness))


_aggregate = st.builds(
    lambda kind, column, window, hop: (kind, column, window * hop, hop),
    st.sampled_from(KINDS),
    st.sampled_from(["x", "y"]),
    st.integers(1, 12),
    st.sampled_from([1, 5, 60]),
)
_programs = st.builds(
    lambda aggregates, counted, lateness: program_of(*aggregates, *counted, lateness=lateness),
    st.lists(_aggregate, min_size=1, max_size=6),
    st.lists(st.just(("count", None, 40, 20)), max_size=1),
    st.sampled_from([0, 7, 500]),
)


def events_of(rng: np.random.Generator, n: int, program: Program, spread: int) -> EventColumns:
    """Events around 1970, before it too; sums come near the limit now and then."""
    columns = max(len(program.columns), 1)
    scaled = rng.choice([0, 1, -1, 2**40, -(2**59), 2**59, 12345], (columns, n))
    values = rng.choice([0.0, 1.5, -2.25, 5e-324, 1e308, -1e308, 0.1], (columns, n))
    valid = rng.random((max(len(program.lanes), 1), n)) < 0.8
    return EventColumns(rng.integers(-spread, spread, n), np.arange(n), values, scaled, NO_CODES, valid)


def store_of(module: Any, program: Program, events: EventColumns, cuts: list[int]) -> tuple[Any, int]:
    blob, late = np.empty(0, np.int64), np.zeros(1, np.int64)
    edges = [0, *sorted(cut for cut in cuts if cut < len(events.ts)), len(events.ts)]
    for begin, end in itertools.pairwise(edges):
        blob = module.fold_blob(program.packed, blob, events, begin, end, end, late)
        if len(blob) == 0:
            break
    return blob, int(late[0])


@settings(max_examples=150, deadline=None)
@given(
    _programs,
    st.integers(0, 2**32),
    st.integers(0, 25),
    st.sampled_from([30, 400]),
    st.lists(st.integers(0, 25), max_size=3),
)
def test_folding_and_reading_compiled_and_not(program: Program, seed: int, n: int, spread: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    events = events_of(rng, n, program, spread)
    compiled, plain = store_of(kernel, program, events, cuts), store_of(PLAIN, program, events, cuts)
    assert compiled[0].tobytes() == plain[0].tobytes()
    assert compiled[1] == plain[1]
    for t in rng.integers(-spread, 3 * spread, 4).tolist():
        outs = [np.full(program.outputs, 7.0) for _ in range(2)]
        stati = [m.read_blob(program.packed, compiled[0], t, out) for m, out in zip((kernel, PLAIN), outs, strict=True)]
        assert stati[0] == stati[1]
        assert outs[0].tobytes() == outs[1].tobytes()


@settings(max_examples=100, deadline=None)
@given(_programs, st.integers(0, 2**32), st.integers(0, 25), st.integers(1, 12), st.sampled_from([2, 64]))
def test_sweeping_compiled_and_not(program: Program, seed: int, n: int, m: int, capacity: int) -> None:
    rng = np.random.default_rng(seed)
    events = events_of(rng, n, program, 200)
    entity, order = np.sort(rng.integers(0, 4, n)), np.arange(n)
    asking = np.sort(rng.integers(0, 5, m))
    asked = SortedRequests(asking, rng.integers(-200, 500, m), np.full(m, rng.integers(0, n + 1)))
    outs = [np.full((m, program.outputs), 7.0) for _ in range(2)]
    stati = [
        module.sweep(program.packed, events, entity, order, asked, out, capacity)
        for module, out in zip((kernel, PLAIN), outs, strict=True)
    ]
    assert stati[0] == stati[1]
    assert outs[0].tobytes() == outs[1].tobytes()


@settings(max_examples=100, deadline=None)
@given(_programs, st.integers(0, 2**32), st.integers(1, 20), st.lists(st.integers(0, 20), max_size=3))
def test_packing_what_was_unpacked_gives_the_same_bytes(program: Program, seed: int, n: int, cuts: list[int]) -> None:
    events = events_of(np.random.default_rng(seed), n, program, 300)
    blob, _ = store_of(kernel, program, events, cuts)
    if len(blob):
        again = kernel.fold_blob(program.packed, blob, events, 0, 0, int(blob[3]), np.zeros(1, np.int64))
        assert again.tobytes() == blob.tobytes()


@settings(max_examples=100, deadline=None)
@given(_programs, st.integers(0, 2**32), st.integers(1, 20), st.lists(st.integers(0, 20), max_size=4))
def test_tiles_and_floors_do_not_depend_on_order_or_batches(program: Program, seed: int, n: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    events = events_of(rng, n, program, 3000)
    events = events._replace(scaled=events.scaled % 1000)
    blob, late = store_of(kernel, program, events, [])
    batched, late_batched = store_of(kernel, program, events, cuts)
    shuffled, _ = store_of(kernel, program, events.take(rng.permutation(n)), cuts)
    assert blob.tobytes() == batched.tobytes() == shuffled.tobytes()
    assert late == late_batched


def folded(program: Program, ts: list[int], scaled: list[int] | None = None) -> Any:
    """One column of whole numbers, one entity, in order."""
    units = np.array([scaled or [1] * len(ts)], np.int64)
    times, offsets, valid = np.array(ts, np.int64), np.arange(len(ts)), np.ones((1, len(ts)), np.bool_)
    events = EventColumns(times, offsets, units.astype(float), units, NO_CODES, valid)
    return store_of(kernel, program, events, [])


def read(program: Program, blob: Any, t: int) -> tuple[int, list[float]]:
    out = np.empty(program.outputs)
    return kernel.read_blob(program.packed, blob, t, out), out.tolist()


def test_count_sum_mean_min_and_max_by_hand() -> None:
    program = program_of(*[(kind, "x", 10, 5) for kind in KINDS])
    blob, late = folded(program, [0, 3, 7, 12], [100, -300, 50, 25])
    assert late == 0
    assert read(program, blob, 12) == (kernel.OK, [4.0, -1.25, -1.25 / 4, -300.0, 100.0])
    assert read(program, blob, 15) == (kernel.OK, [2.0, 0.75, 0.375, 25.0, 50.0])
    status, nothing = read(program, blob, 1000)
    assert status == kernel.OK
    assert nothing[0] == 0
    assert np.isnan(nothing[1:]).all()


@pytest.mark.parametrize(("t", "count"), [(29, 2.0), (30, 2.0), (34, 2.0), (35, 1.0), (39, 1.0), (40, 0.0)])
def test_the_tail_of_a_window_moves_by_hops(t: int, count: float) -> None:
    program = program_of(("count", None, 20, 5))
    blob, _ = folded(program, [14, 19])  # tiles 10 and 15; the window begins at floor(t - 20, 5)
    assert read(program, blob, t)[1] == [count]


@pytest.mark.parametrize(("t", "count"), [(-9, 2.0), (-7, 2.0), (-6, 1.0), (-2, 1.0), (-1, 0.0)])
def test_tiles_before_1970_are_floored_not_cut(t: int, count: float) -> None:
    program = program_of(("count", None, 9, 5))
    blob, _ = folded(program, [-20, -13])
    assert read(program, blob, t)[1] == [count]


def test_a_request_that_reaches_for_what_was_let_go_is_refused() -> None:
    program = program_of(("count", None, 10, 5), lateness=10)
    blob, late = folded(program, [0, 4, 100])  # kept from 100 - 10 - 10 - 5 = 75 on; the floor is 5
    assert late == 0
    assert read(program, blob, 14) == (kernel.TOO_OLD, pytest.approx(read(program, blob, 14)[1]))
    assert read(program, blob, 15) == (kernel.OK, [1.0])


def test_events_older_than_everything_kept_are_counted_as_late_and_change_no_answer() -> None:
    program = program_of(("count", None, 10, 5), ("count", None, 100, 50), lateness=10)
    kept = folded(program, [1000, 880])  # the level of the long window keeps from 1000 - 100 - 10 - 50 = 840 -> 800 on
    assert kept[1] == 0
    both = folded(program, [1000, 880, 799])
    assert both[1] == 1
    assert read(program, both[0], 1000) == read(program, kept[0], 1000) == (kernel.OK, [1.0, 1.0])


def test_a_sum_that_grows_beyond_62_bits_is_an_error_in_a_tile_and_across_tiles() -> None:
    program = program_of(("sum", "x", 10, 5))
    for beyond in ([2**61, 2**61], [-(2**61), -(2**61)], [2**61, 2**61, -(2**61)], [5, exact.BEYOND, 5], [-5, exact.BEYOND]):
        blob, _ = folded(program, [*range(len(beyond)), 10], [*beyond, 3])
        assert read(program, blob, 9)[0] == kernel.OVERFLOW  # and so are windows that hold the tile, but no others
        assert read(program, blob, 15) == (kernel.OK, [0.03])
    blob, _ = folded(program, [0, 5], [2**61, 2**61])
    assert read(program, blob, 5)[0] == kernel.OVERFLOW
    assert read(program, blob, 15) == (kernel.OK, [2**61 / 100])


@settings(max_examples=200)
@given(st.lists(st.integers(-(2**46), 2**46), min_size=1, max_size=30), st.integers(0, 6))
def test_sums_and_means_are_the_nearest_floats_to_the_exact_ones(scaled: list[int], digits: int) -> None:
    program = program_of(("sum", "x", 10, 5), ("mean", "x", 10, 5), digits=digits)
    blob, _ = folded(program, list(range(len(scaled)))[:10] + [5] * (len(scaled) - 10), scaled)
    exact = Fraction(sum(scaled), 10**digits)
    assert read(program, blob, 9) == (kernel.OK, [float(exact), float(exact / len(scaled))])


def test_more_tiles_than_a_join_first_makes_room_for() -> None:
    program = program_of(("count", None, 2000, 1))
    n = 700
    ones = np.ones((1, n))
    events = EventColumns(np.arange(n), np.arange(n), ones, ones.astype(np.int64), NO_CODES, ones > 0)
    asked = SortedRequests(np.zeros(1, np.int64), np.array([n]), np.array([n]))
    out = np.empty((1, 1))
    entity = np.zeros(n, np.int64)
    assert kernel.sweep(program.packed, events, entity, np.arange(n), asked, out, 512) == kernel.FULL
    assert kernel.sweep(program.packed, events, entity, np.arange(n), asked, out, 2048) == kernel.OK
    assert out.tolist() == [[700.0]]


def test_an_aggregate_that_no_slot_can_hold_is_refused() -> None:
    with pytest.raises(DeclarationError, match="a0: median of x is no aggregate"):
        program_of(("median", "x", 10, 5))
