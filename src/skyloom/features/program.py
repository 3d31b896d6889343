"""A feature group as numbers: the little program that the kernel runs in batch, in the stream and in serving alike.

A *level* is one hop length with the tiles kept for it; a *slot* is one mergeable state inside a tile, a word or the handle
of a wider one; a *lane* says which events a slot takes: those with a value in a column, and for which a condition is true;
a *window* is a level, an offset and a length; an *output* finishes one feature from the slots of a window.
"""

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


class Tables(NamedTuple):
    """What the compiled functions are given: arrays, int64 but ``output_scale`` and ``output_q`` (float64).

    ``slot_*`` have shape [S] (``slot_column`` is a row of the events' values, or of their codes; ``slot_lane`` of their
    lanes; ``slot_size`` the entries of a list, the cap of a set, the buckets of a power of two); ``wide_slot`` [X] are the
    slots with a state of any size; ``level_*`` [L]; ``window_*`` [W], ordered by level, offset and length; ``output_*``
    [O].
    """

    slot_kind: Int64s
    slot_column: Int64s
    slot_lane: Int64s
    slot_size: Int64s
    wide_slot: Int64s
    level_hop: Int64s
    level_keep: Int64s
    window_level: Int64s
    window_offset: Int64s
    window_length: Int64s
    output_window: Int64s
    output_finish: Int64s
    output_value: Int64s
    output_present: Int64s
    output_square: Int64s
    output_entry: Int64s
    output_digits: Int64s
    output_scale: Float64s
    output_q: Float64s


class Program(NamedTuple):
    """A compiled group: the columns it reads, in order, with their scales (powers of ten), its lanes, its codes, its
    tables."""

    columns: tuple[str, ...]
    scales: Float64s
    lanes: tuple[Lane, ...]
    codes: tuple[Code, ...]
    tables: Tables
    packed: Int64s
    """The tables one after the other, each behind its length: one array crosses into compiled code sooner than many."""

    @property
    def outputs(self) -> int:
        """How many features it gives."""
        return len(self.tables.output_window)


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
    tables = Tables(
        slot_kind=_ints([slot.kind for slot in slots]),
        slot_column=_ints([slot.column for slot in slots]),
        slot_lane=_ints([slot.lane for slot in slots]),
        slot_size=_ints([slot.size for slot in slots]),
        wide_slot=_ints([index for index, slot in enumerate(slots) if slot.kind >= OLDEST]),
        level_hop=_ints(levels),
        level_keep=_ints([each + group.lateness_ms for each in reach]),
        window_level=_ints([level for level, _, _ in windows]),
        window_offset=_ints([offset for _, offset, _ in windows]),
        window_length=_ints([length for _, _, length in windows]),
        output_window=_ints([windows.index(_window(a, levels)) for a in group.aggregates]),
        output_finish=_ints([_KINDS[a.kind][1] for a in group.aggregates]),
        output_value=_ints([slots.index(each[0]) for each in mine]),
        output_present=_ints([slots.index(each[1 if len(each) > 1 else 0]) for each in mine]),
        output_square=_ints([slots.index(each[2 if len(each) > 2 else 0]) for each in mine]),
        output_entry=_ints([max(a.entry - 1, 0) for a in group.aggregates]),
        output_digits=_ints(digits),
        output_scale=np.array([10.0**digit for digit in digits]),
        output_q=np.array([a.q for a in group.aggregates]),
    )
    scales = np.array([10.0 ** group.scales.get(column, 0) for column in names.columns], np.float64)
    return Program(names.columns, scales, tuple(names.lanes.values()), names.codes, tables, _packed(tables))


def _packed(tables: Tables) -> Int64s:
    return np.concatenate([part for table in tables for part in (_ints([len(table)]), table.view(np.int64))])


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


def _ints(values: list[int]) -> Int64s:
    return np.array(values, np.int64)
