"""The algebra: laws of merging to the last bit, and every kind of aggregate beside naive Python over all values."""

import itertools
import math
from collections import Counter
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features import oracle_sketches
from tests.features.twin import twin

from skyloom.features.algebra import kernel
from skyloom.features.algebra.codes import buckets, hashes, ordered
from skyloom.features.algebra.columns import EventColumns, event_columns
from skyloom.features.algebra.exact import BEYOND
from skyloom.features.algebra.layout import read_layout
from skyloom.features.algebra.program import BUCKETS, HASHES, SQUARE_LOW, Program, compile_group
from skyloom.kernel.errors import DataError
from skyloom.kernel.expr import col
from skyloom.kernel.records.definitions import LIFETIME, AggregateDef, FeatureGroupDef

PLAIN = twin()
NOTHING = np.frombuffer(b"", np.int64)
SMALLEST, LARGEST = 5e-324, 1.7976931348623157e308


def ever(name: str, kind: str, column: str | None = "x", **more: Any) -> AggregateDef:
    return AggregateDef(name, kind, column, LIFETIME, LIFETIME, **more)


ALL = (
    ever("count", "count"),
    ever("sum", "sum"),
    ever("mean", "mean"),
    ever("min", "min"),
    ever("max", "max"),
    ever("var", "var"),
    ever("stddev", "stddev"),
    ever("first", "first", size=1),
    ever("last", "last", size=1),
    *(ever(f"{kind}{entry}", kind, size=3, entry=entry) for kind in ("first_k", "last_k", "top_k") for entry in (1, 2, 3)),
    ever("distinct", "distinct", size=5),
    *(ever(f"p{100 * q:g}", "quantile", size=50, q=q) for q in (0.0, 0.25, 0.5, 0.99, 1.0)),
)


def program_of(*aggregates: AggregateDef, digits: int = 2) -> Program:
    return compile_group(FeatureGroupDef("g", "s", ("k",), aggregates, {"x": digits}, 0))


EVERY = program_of(*ALL)
BY_HOP = program_of(*(AggregateDef(a.name, a.kind, a.column, 100, 10, size=a.size, entry=a.entry, q=a.q) for a in ALL))
VALUES = [None, 0.0, -0.0, 1.0, 1.01, -1.01, 2.5, -7.25, 1e6, -123456.78, 0.01, math.nan]


class Drawn(NamedTuple):
    """Values with their times; offsets count from 0."""

    values: list[float | None]
    times: list[int]

    def columns(self, program: Program) -> EventColumns:
        table = pa.table({"x": pa.array(self.values, pa.float64()), "_offset": np.arange(len(self.values))})
        return event_columns(table, np.array(self.times, np.int64), program)


drawn = st.lists(st.tuples(st.sampled_from(VALUES), st.integers(-25, 60)), max_size=24).map(
    lambda pairs: Drawn([value for value, _ in pairs], [at for _, at in pairs])
)


def fold(program: Program, events: EventColumns, cuts: list[int], module: Any = kernel) -> Any:
    """The blob after some batches."""
    blob, late, n = NOTHING, np.zeros(1, np.int64), len(events.ts)
    edges = [0, *sorted(cut for cut in cuts if cut < n), n]
    for begin, end in itertools.pairwise(edges):
        blob = module.fold_blob(program.packed, blob, events, begin, end, n, late)
    return blob


def read(program: Program, blob: Any, t: int, module: Any = kernel) -> dict[str, float | None]:
    out = np.full(program.outputs, 7.0)
    assert module.read_blob(program.packed, blob, t, out) == kernel.OK
    return {a.name: None if math.isnan(value) else value for a, value in zip(ALL, out.tolist(), strict=True)}


def naive(given: Drawn) -> dict[str, float | None]:
    """All of it over all values, in fractions, sorted lists and sets."""
    there = [
        (value, at, offset)
        for offset, (value, at) in enumerate(zip(given.values, given.times, strict=True))
        if value is not None and not math.isnan(value)
    ]
    values = [value for value, _, _ in there]
    found: dict[str, float | None] = dict.fromkeys((a.name for a in ALL), None)
    found |= {"count": float(len(values)), "distinct": oracle_sketches.distinct(values, 5)}
    in_time = [value for value, _, _ in sorted(there, key=lambda each: each[1:])]
    lists = {"first_k": in_time, "last_k": in_time[::-1], "top_k": sorted(values, reverse=True)}
    found |= {f"{kind}{i + 1}": value for kind, listed in lists.items() for i, value in enumerate(listed[:3])}
    if values:
        scaled = [round(Fraction(value) * 100) for value in values]
        found |= {"sum": sum(scaled) / 100, "mean": sum(scaled) / (100 * len(scaled))}
        found |= {"min": min(values), "max": max(values), "first": in_time[0], "last": in_time[-1]}
        found |= {f"p{100 * q:g}": oracle_sketches.quantile(values, q, 50) for q in (0.0, 0.25, 0.5, 0.99, 1.0)}
    if len(values) > 1:
        middle = Fraction(sum(scaled), len(scaled))
        found["var"] = float(sum((each - middle) ** 2 for each in scaled) / (len(scaled) - 1) / 10**4)
        found["stddev"] = math.sqrt(found["var"])
    return found


@settings(max_examples=300, deadline=None)
@given(drawn, st.lists(st.integers(1, 23), max_size=3))
def test_every_kind_is_what_naive_python_makes_of_all_values(given: Drawn, cuts: list[int]) -> None:
    assert read(EVERY, fold(EVERY, given.columns(EVERY), cuts), 1_000) == naive(given)


@settings(max_examples=150, deadline=None)
@given(drawn, st.lists(st.integers(1, 23), max_size=3), st.randoms(use_true_random=False))
def test_tiles_depend_on_the_events_and_not_on_their_order_or_batches(given: Drawn, cuts: list[int], random: Any) -> None:
    for program in (EVERY, BY_HOP):
        events = given.columns(program)
        mixed = list(range(len(given.values)))
        random.shuffle(mixed)
        whole = fold(program, events, [])
        assert fold(program, events, cuts).tobytes() == whole.tobytes()
        assert fold(program, events.take(np.array(mixed, np.intp)), cuts).tobytes() == whole.tobytes()


@settings(max_examples=60, deadline=None)
@given(drawn, st.lists(st.integers(1, 23), max_size=2))
def test_compiled_and_not_they_are_the_same_bytes(given: Drawn, cuts: list[int]) -> None:
    events = given.columns(BY_HOP)
    blob = fold(BY_HOP, events, cuts)
    assert fold(BY_HOP, events, cuts, PLAIN).tobytes() == blob.tobytes()
    assert read(BY_HOP, blob, 90) == read(BY_HOP, blob, 90, PLAIN)


class Merged:
    """The tiles of three sets of events, and what merging makes of them; states are compared as the words they hold."""

    def __init__(self, given: Drawn) -> None:
        self.program, self.slots = BY_HOP.packed, len(BY_HOP.tables.slots)
        self.tiles = PLAIN.empty_tiles(1, 3, self.slots, 60_000)
        for start in (0, 10, 20):
            PLAIN.place(self.tiles, 0, start, self.program)
        events = given.columns(BY_HOP)
        assert PLAIN._fold(self.tiles, self.program, events, 0, len(given.values)) == kernel.OK

    def nothing(self) -> Any:
        state = np.zeros(self.slots, np.int64)
        PLAIN.identity(state, state.view(np.float64), 0, self.program)
        return state

    def merge(self, *states: Any) -> Any:
        total = self.nothing()
        for state in states:
            tile = np.append(0, state)
            tiles = self.tiles._replace(bits=tile, floats=tile.view(np.float64))
            assert PLAIN._merge(total, total.view(np.float64), *tiles[:2], 0, len(tile), self.program) == kernel.OK
            assert PLAIN._merge_wide(tiles, self.program, total, 0, len(tile)) == kernel.OK
        return total

    def words(self, state: Any) -> list[Any]:
        found = state.tolist()
        for s in BY_HOP.tables.wide.tolist():
            at = found[s]
            found[s] = [] if at < 0 else self.tiles.heap[at + 2 : at + 2 + self.tiles.heap[at + 1]].tolist()
        return found


@settings(max_examples=100, deadline=None)
@given(drawn)
def test_merging_is_a_commutative_monoid_to_the_last_bit(given: Drawn) -> None:
    world = Merged(given._replace(times=[at % 30 for at in given.times]))
    a, b, c = (world.tiles.bits.reshape(3, -1)[i, 1:].copy() for i in range(3))
    whole = world.words(world.merge(a, b, c))
    assert world.words(world.merge(world.merge(a, b), c)) == world.words(world.merge(a, world.merge(b, c))) == whole
    assert world.words(world.merge(c, b, a)) == world.words(world.merge(b, a, c)) == whole
    assert world.words(world.merge(world.nothing(), a)) == world.words(world.merge(a, world.nothing())) == world.words(a)


@settings(max_examples=100, deadline=None)
@given(drawn, st.integers(0, 24))
def test_counts_sums_squares_and_buckets_can_be_taken_back(given: Drawn, cut: int) -> None:
    """Of what was folded, less what came behind, is left what came before: as whole numbers, read from the bytes."""
    program = program_of(ever("var", "var"), ever("count", "count"), ever("median", "quantile", size=50, q=0.5))

    def states(part: slice) -> list[Any]:
        some = Drawn(given.values[part], [0] * len(given.values[part]))
        blob = read_layout(fold(program, some.columns(program), []).tobytes(), program)
        tiles = blob.levels[0].tiles
        found: list[Any] = [each for each in tiles[0].states if each is not None] if tiles else [0, 0, 0, {}]
        return [Counter(each) if isinstance(each, dict) else each for each in found]

    both, behind = states(slice(None)), states(slice(cut, None))
    assert [all_ - some for all_, some in zip(both, behind, strict=True)] == states(slice(0, cut))


@settings(max_examples=150, deadline=None)
@given(drawn)
def test_packed_tiles_read_in_plain_python_hold_what_was_folded(given: Drawn) -> None:
    blob = read_layout(fold(BY_HOP, given.columns(BY_HOP), [7]).tobytes(), BY_HOP)
    there = [(v, t) for v, t in zip(given.values, given.times, strict=True)]
    assert blob.end == len(given.values)
    assert [tile.start for tile in blob.levels[0].tiles] == sorted({t // 10 * 10 for _, t in there})
    kinds = BY_HOP.tables.slots[:, 0].tolist()
    for tile in blob.levels[0].tiles:
        values = [v + 0.0 for v, t in there if t // 10 * 10 == tile.start and v is not None and not math.isnan(v)]
        states = dict(zip(kinds, tile.states, strict=True))
        assert states[SQUARE_LOW] == sum(round(Fraction(v) * 100) ** 2 for v in values)
        assert sum(states[BUCKETS].values()) == len(values)
        different = {oracle_sketches.hash_of(v) for v in values}
        if len(different) <= 5:
            assert {each % 2**64 for each in states[HASHES]} == different
        else:
            assert list(states[HASHES]) == oracle_sketches.registers(values)


@pytest.mark.parametrize("version", [1, 3])
def test_tiles_of_another_version_are_refused(version: int) -> None:
    blob = fold(EVERY, Drawn([1.0], [0]).columns(EVERY), []).copy()
    blob[0] = version
    assert kernel.read_blob(EVERY.packed, blob, 0, np.empty(EVERY.outputs)) == kernel.UNREADABLE
    with pytest.raises(DataError, match=f"have the layout .{version}, 1, ") as refused:
        read_layout(blob.tobytes(), EVERY)
    assert "backfill" in refused.value.fix


def sketch(kind: str, values: Any, **more: Any) -> float:
    """One aggregate of many values in 40 tiles, merged by a window over all."""
    program = program_of(AggregateDef("a", kind, "x", 40, 1, **more))
    table = pa.table({"x": values, "_offset": np.arange(len(values))})
    events = event_columns(table, np.arange(len(values)) % 40, program)
    out = np.empty(1)
    assert kernel.read_blob(program.packed, fold(program, events, [len(values) // 3]), 40, out) == kernel.OK
    return float(out[0])


@pytest.mark.parametrize("many", [1, 256, 257, 3_000, 50_000])
def test_distinct_counts_are_those_of_the_paper_and_near_the_truth(many: int) -> None:
    texts = [f"visitor {i % many}" for i in range(2 * many)]
    told = sketch("distinct", pa.array(texts), size=256)
    assert told == oracle_sketches.distinct(texts[:many], 256)
    assert abs(told - many) <= (0 if many <= 256 else 5 * 0.01625 * many)
    whole = sketch("distinct", pa.array(np.arange(many)), size=256)
    assert whole == oracle_sketches.distinct(list(range(many)), 256)


@pytest.mark.parametrize("parts", [2, 50, 500])
def test_quantiles_are_within_their_accuracy(parts: int) -> None:
    rng = np.random.default_rng(parts)
    values = np.concatenate([rng.lognormal(0, 4, 3000), -rng.lognormal(0, 4, 1500), np.zeros(100)])
    rng.shuffle(values)
    for q in (0.0, 0.01, 0.3, 0.34, 0.5, 0.9, 0.999, 1.0):
        told, true = (
            sketch("quantile", pa.array(values), size=parts, q=q),
            np.sort(values)[math.floor(q * (len(values) - 1))],
        )
        assert told == oracle_sketches.quantile(values.tolist(), q, parts)
        assert abs(told - true) <= abs(true) / (2 * parts + 1) * (1 + 1e-12)


EDGES = [SMALLEST, -SMALLEST, 2.2250738585072014e-308, LARGEST, -LARGEST, math.inf, -math.inf, math.nan, 0.0, 1.0, None]


def test_huge_tiny_and_endless_values_have_their_places() -> None:
    program = program_of(
        *(ever(f"t{entry}", "top_k", size=12, entry=entry) for entry in range(1, 13)),
        ever("n", "distinct", size=20),
        ever("count", "count"),
        *(ever(f"q{q}", "quantile", size=50, q=q) for q in (0.0, 1.0)),
    )
    out = np.empty(program.outputs)
    events = Drawn(EDGES, [0] * len(EDGES)).columns(program)
    assert kernel.read_blob(program.packed, fold(program, events, []), 0, out) == kernel.OK
    expected = sorted((value for value in EDGES if value is not None and value == value), reverse=True)
    assert out[:9].tolist() == expected
    assert np.isnan(out[9:12]).all()
    assert out[12:14].tolist() == [9.0, 9.0]
    assert out[14] < -1.7e308
    assert out[15] > 1.7e308


def test_codes_keep_the_order_of_values() -> None:
    values = np.array(sorted(value for value in EDGES if value is not None and value == value))
    for codes in (ordered(values), buckets(values, 50)):
        assert (np.diff(codes) >= 0).all()
    assert len(np.unique(ordered(values))) == len(values)


@settings(max_examples=200)
@given(st.lists(st.text(max_size=8) | st.none(), max_size=8), st.lists(st.floats(allow_nan=False) | st.none(), max_size=8))
def test_hashes_are_the_same_in_every_process(texts: list[str | None], numbers: list[float | None]) -> None:
    for values, kind in ((texts, pa.string()), (numbers, pa.float64())):
        made = hashes(pa.array(values, kind)).tolist()
        assert [each % 2**64 for each, value in zip(made, values, strict=True) if value is not None] == [
            oracle_sketches.hash_of(value) for value in values if value is not None
        ]
    assert hashes(pa.array(["UA", "DL \u00e9"])).tolist() == [-5001092095243403813, 5561488664736352057]
    assert hashes(pa.array([1.5, -2.0])).tolist() == [-2964862180898217846, 673586283495342769]
    assert hashes(pa.array([7, -1])).tolist() == [7191089600892374487, -1956407806741107680]


def test_hashes_of_whole_numbers_truths_and_times_never_collide() -> None:
    whole = np.arange(-50_000, 50_000)
    for column in (pa.array(whole), pa.array(whole).cast(pa.timestamp("ms", tz="UTC"))):
        assert len(np.unique(hashes(column))) == len(whole)
    assert len(np.unique(hashes(pa.array([True, False, True])))) == 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(2**60), 2**60), min_size=2, max_size=4), st.integers(0, 18))
def test_variances_are_the_nearest_floats_to_the_exact_ones(scaled: list[int], digits: int) -> None:
    program = program_of(ever("var", "var"), digits=digits)
    units = np.array([scaled], np.int64)
    n = len(scaled)
    none = np.zeros((0, n), np.int64)
    events = EventColumns(np.zeros(n, np.int64), np.arange(n), units.astype(float), units, none, np.ones((1, n), np.bool_))
    out = np.empty(1)
    blob = fold(program, events, [])
    if abs(sum(scaled)) < 2**62 and all(abs(sum(scaled[:i])) < 2**62 for i in range(n)):
        assert kernel.read_blob(program.packed, blob, 0, out) == kernel.OK
        middle = Fraction(sum(scaled), n)
        assert out[0] == float(sum((each - middle) ** 2 for each in scaled) / (n - 1) / 10 ** (2 * digits))
    else:
        assert kernel.read_blob(program.packed, blob, 0, out) == kernel.OVERFLOW


def test_squares_that_grow_beyond_124_bits_are_an_error_in_a_tile_and_across_tiles() -> None:
    program = program_of(AggregateDef("var", "var", "x", 20, 10))
    units = np.array([[2**61, -(2**61)] * 8], np.int64)
    none, valid = np.zeros((0, 16), np.int64), np.ones((1, 16), np.bool_)
    one = EventColumns(np.zeros(16, np.int64), np.arange(16), units.astype(float), units, none, valid)
    assert kernel.read_blob(program.packed, fold(program, one, []), 9, np.empty(1)) == kernel.OVERFLOW
    large = one._replace(scaled=np.array([[1, BEYOND, *range(14)]]))
    assert kernel.read_blob(program.packed, fold(program, large, []), 9, np.empty(1)) == kernel.OVERFLOW
    two = one._replace(ts=np.repeat([0, 10, 20, 30, 40, 50, 60, 70], 2))
    assert kernel.read_blob(program.packed, fold(program, two, []), 85, np.empty(1)) == kernel.OVERFLOW
    assert kernel.read_blob(program.packed, fold(program, two, []), 90, np.empty(1)) == kernel.OK


@pytest.mark.parametrize(("t", "count"), [(24, 0.0), (29, 1.0), (30, 2.0), (44, 2.0), (45, 1.0), (49, 1.0), (50, 0.0)])
def test_a_window_in_the_past_ends_on_a_hop_too(t: int, count: float) -> None:
    """Events at 14 and 17, a window of 20 by 5 that ended 10 ago: [floor(t - 30, 5), floor(t - 10, 5))."""
    program = program_of(AggregateDef("n", "count", None, 20, 5, offset_ms=10))
    events = event_columns(pa.table({"_offset": [0, 1]}), np.array([14, 17]), program)
    out = np.empty(1)
    assert kernel.read_blob(program.packed, fold(program, events, []), t, out) == kernel.OK
    assert out[0] == count


def test_a_lifetime_is_one_tile_however_long_it_is() -> None:
    program = program_of(ever("sum", "sum"))
    years = 365 * 86_400_000
    short, long = (Drawn([1.0] * n, [i * years for i in range(n)]).columns(program) for n in (1, 300))
    assert len(fold(program, short, [])) == len(fold(program, long, []))
    out = np.empty(1)
    assert kernel.read_blob(program.packed, fold(program, long, [5]), 300 * years, out) == kernel.OK
    assert out[0] == 300.0


def test_an_event_of_which_a_condition_is_false_or_unknown_is_left_out() -> None:
    where = (col("y") > 1).expression
    program = program_of(
        ever("n", "count", None, where=where),
        ever("of", "count", where=where),
        ever("sum", "sum", where=where),
        ever("all", "sum"),
    )
    table = pa.table({"x": [1.0, 2.0, 4.0, None, 16.0], "y": [2, 1, None, 5, 3], "_offset": range(5)})
    events = event_columns(table, np.zeros(5, np.int64), program)
    out = np.empty(4)
    assert kernel.read_blob(program.packed, fold(program, events, []), 0, out) == kernel.OK
    assert out.tolist() == [3.0, 2.0, 17.0, 23.0]
