"""A feature group as numbers: the little program that the kernel runs in batch, in the stream and in serving alike.

A *level* is one hop length with the tiles kept for it; a *slot* is one mergeable state inside a tile, a word or the handle
of a wider one; a *lane* says which events a slot takes: those with a value in a column, and for which a condition is true;
a *window* is a level, an offset and a length; an *output* finishes one feature from the slots of a window.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Expression, columns_of
from skyloom.kernel.ids import canonical_json
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

ROWS, PRESENT, SUM, MIN, MAX, SQUARE_LOW, SQUARE_HIGH, OLDEST, NEWEST, GREATEST, HASHES, BUCKETS = range(12)
"""Slot kinds: events, events of a lane, scaled integer sum, least, greatest, the two words of a sum of squares; and with a
state of any size: lists of the oldest, newest and greatest values, sets, counts by bucket."""

(
    FINISH_COUNT,
    FINISH_SUM,
    FINISH_MEAN,
    FINISH_EXTREME,
    FINISH_VAR,
    FINISH_STDDEV,
    FINISH_ENTRY,
    FINISH_SET,
    FINISH_QUANTILE,
) = range(9)

_SUMS = (SUM, PRESENT)
_SQUARES = (SUM, PRESENT, SQUARE_LOW, SQUARE_HIGH)
_KINDS: dict[str, tuple[tuple[int, ...], int]] = {
    "count": ((PRESENT,), FINISH_COUNT),
    "sum": (_SUMS, FINISH_SUM),
    "mean": (_SUMS, FINISH_MEAN),
    "min": ((MIN, PRESENT), FINISH_EXTREME),
    "max": ((MAX, PRESENT), FINISH_EXTREME),
    "var": (_SQUARES, FINISH_VAR),
    "stddev": (_SQUARES, FINISH_STDDEV),
    "first": ((OLDEST,), FINISH_ENTRY),
    "last": ((NEWEST,), FINISH_ENTRY),
    "first_k": ((OLDEST,), FINISH_ENTRY),
    "last_k": ((NEWEST,), FINISH_ENTRY),
    "top_k": ((GREATEST,), FINISH_ENTRY),
    "distinct": ((HASHES,), FINISH_SET),
    "quantile": ((BUCKETS,), FINISH_QUANTILE),
}
"""The slots that each kind of aggregate needs, and how it is finished."""


class Lane(NamedTuple):
    """Events with a value in ``column`` (any event: ``None``) for which ``where`` is true (any: ``None``)."""

    column: str | None
    where: Expression | None


class Code(NamedTuple):
    """A column as whole numbers for the slots of one ``kind``; ``size`` is how finely buckets are cut, else 0."""

    column: str
    kind: int
    size: int


KIND, COLUMN, LANE, SIZE = range(4)
"""The columns of `Tables.slots`: its kind, the row of the events' values or codes, of their lanes, and how large its state
is (the entries of a list, the cap of a set, the buckets of a power of two)."""

HOP, KEEP = range(2)
"""The columns of `Tables.levels`."""

LEVEL, OFFSET, LENGTH = range(3)
"""The columns of `Tables.windows`."""

WINDOW, FINISH, VALUE, COUNT, SQUARE, PLACE, DIGITS = range(7)
"""The columns of `Tables.outputs`: window, how it is finished, the slots of its value, of the number of values and of the
sum of squares, the place in a list, and the digits of its column."""

SCALE, SHARE = range(2)
"""The columns of `Tables.factors`: what sums are divided by, and the quantile's share."""


class Tables(NamedTuple):
    """What the compiled functions work by.

    ``slots`` [S, 4], ``wide`` [X] (the slots with a state of any size), ``levels`` [L, 2], ``windows`` [W, 3] (ordered by
    level, offset and length), ``outputs`` [O, 7] and ``by_window`` [O] (the outputs in the order of their windows) are
    int64, ``factors`` [O, 2] is float64; their columns are named above.
    """

    slots: Int64s
    wide: Int64s
    levels: Int64s
    windows: Int64s
    outputs: Int64s
    factors: Float64s
    by_window: Int64s


SLOTS, WIDE, LEVELS, WINDOWS, OUTPUTS, FACTORS, BY_WINDOW = range(7)
"""Words of packed tables: how many rows there are of each; `ROWS_AT` further on, the word where the first of them is."""
ROWS_AT = 7


class Program(NamedTuple):
    """A compiled group: the columns it reads, in order, with their scales (powers of ten), its lanes, its codes, its
    tables."""

    columns: tuple[str, ...]
    scales: Float64s
    lanes: tuple[Lane, ...]
    codes: tuple[Code, ...]
    tables: Tables
    packed: Int64s
    """The tables as the compiled functions take them, in one array: many would cost more than most of the work. First how
    many rows each has and where they begin (see `SLOTS`), then the rows; of float64 the bits."""

    @property
    def outputs(self) -> int:
        """How many features it gives."""
        return len(self.tables.outputs)


class _Slot(NamedTuple):
    kind: int
    column: int
    lane: int
    size: int


class _Names(NamedTuple):
    """What slots refer to by number."""

    columns: tuple[str, ...]
    lanes: dict[bytes, Lane]
    codes: tuple[Code, ...]


def columns_read(group: FeatureGroupDef) -> set[str]:
    """The columns of its source that a group reads: entity, attributes, what is aggregated, and what conditions look at.

    >>> from skyloom.kernel.expr import col
    >>> old = AggregateDef("n_1h", "count", None, 3_600_000, 300_000, where=(col("age") > 60).expression)
    >>> sorted(columns_read(FeatureGroupDef("g", "visits", ("who",), (old,), {}, 0)))
    ['age', 'who']
    """
    found = {*group.by, *group.attributes}
    for aggregate in group.aggregates:
        found |= set() if aggregate.column is None else {aggregate.column}
        found |= set() if aggregate.where is None else set(columns_of(aggregate.where))
    return found


def compile_group(group: FeatureGroupDef) -> Program:
    """The program of a group. Raises `DeclarationError` for an aggregate that no slot can hold.

    >>> from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef
    >>> mean = AggregateDef("delay_1h", "mean", "delay", 3_600_000, 300_000)
    >>> compile_group(FeatureGroupDef("g", "arrivals", ("carrier",), (mean,), {"delay": 2}, 0)).scales.tolist()
    [100.0]
    """
    names = _names(group)
    mine = [_slots(aggregate, names) for aggregate in group.aggregates]
    slots = list(dict.fromkeys(slot for each in mine for slot in each))
    levels = sorted({a.hop_ms for a in group.aggregates})
    windows = sorted({_window(a, levels) for a in group.aggregates})
    reach = [max(sum(rest) for level, *rest in windows if level == index) for index in range(len(levels))]
    digits = [group.scales.get(a.column, 0) if a.column else 0 for a in group.aggregates]
    outputs = [
        (
            windows.index(_window(a, levels)),
            _KINDS[a.kind][1],
            *(slots.index(each[min(part, len(each) - 1)]) for part in range(3)),
            max(a.entry - 1, 0),
            digit,
        )
        for a, each, digit in zip(group.aggregates, mine, digits, strict=True)
    ]
    factors = [(10.0**digit, a.q) for a, digit in zip(group.aggregates, digits, strict=True)]
    tables = Tables(
        _rows(slots, 4),
        np.array([index for index, slot in enumerate(slots) if slot.kind >= OLDEST], np.int64),
        _rows([(hop, most + group.lateness_ms) for hop, most in zip(levels, reach, strict=True)], 2),
        _rows(windows, 3),
        _rows(outputs, 7),
        np.array(factors, np.float64).reshape(-1, 2),
        np.argsort(_rows(outputs, 7)[:, WINDOW], kind="stable").astype(np.int64),
    )
    scales = np.array([10.0 ** group.scales.get(column, 0) for column in names.columns], np.float64)
    return Program(names.columns, scales, tuple(names.lanes.values()), names.codes, tables, _packed(tables))


def _packed(tables: Tables) -> Int64s:
    rows = [table.view(np.int64).reshape(-1) for table in tables]
    begins = 2 * ROWS_AT + np.cumsum([0, *(len(each) for each in rows[:-1])])
    return np.concatenate([np.array([len(table) for table in tables]), begins, *rows])


def _names(group: FeatureGroupDef) -> _Names:
    columns = tuple(dict.fromkeys(a.column for a in group.aggregates if a.column is not None))
    lanes = {_lane_key(a): Lane(a.column, a.where) for a in group.aggregates if a.column or a.where}
    codes = tuple(dict.fromkeys(_code(a, kind) for a in group.aggregates for kind in _kinds(a) if kind >= OLDEST))
    return _Names(columns, lanes, codes)


def _kinds(aggregate: AggregateDef) -> tuple[int, ...]:
    if aggregate.kind not in _KINDS or (aggregate.column is None and aggregate.kind != "count"):
        raise DeclarationError(f"{aggregate.name}: {aggregate.kind} of {aggregate.column} is no aggregate")
    return _KINDS[aggregate.kind][0]


def _lane_key(aggregate: AggregateDef) -> bytes:
    """Equal for equal lanes only: as values, 1 and True and 1.0 would be equal."""
    return canonical_json((aggregate.column, aggregate.where))


def _code(aggregate: AggregateDef, kind: int) -> Code:
    """Lists share their codes."""
    column = str(aggregate.column)
    return Code(column, kind, aggregate.size) if kind == BUCKETS else Code(column, max(kind, GREATEST), 0)


def _slots(aggregate: AggregateDef, names: _Names) -> list[_Slot]:
    kinds = _kinds(aggregate)
    if aggregate.column is None and aggregate.where is None:
        return [_Slot(ROWS, -1, -1, 0)]
    lane = list(names.lanes).index(_lane_key(aggregate))
    if kinds[0] >= OLDEST:
        size = aggregate.size or 1
        return [_Slot(kinds[0], names.codes.index(_code(aggregate, kinds[0])), lane, size)]
    column = -1 if aggregate.column is None else names.columns.index(aggregate.column)
    return [_Slot(kind, -1 if kind == PRESENT else column, lane, 0) for kind in kinds]


def _window(aggregate: AggregateDef, levels: list[int]) -> tuple[int, int, int]:
    return levels.index(aggregate.hop_ms), aggregate.offset_ms, aggregate.window_ms


def _rows(rows: Sequence[tuple[int, ...]], width: int) -> Int64s:
    return np.array(rows, np.int64).reshape(-1, width)
