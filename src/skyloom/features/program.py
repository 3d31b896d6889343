"""A feature group as numbers: the little program that the kernel runs in batch, in the stream and in serving alike.

A *level* is one hop length with the tiles kept for it; a *slot* is one mergeable number inside a tile; a *window* is a
level and a length; an *output* finishes one feature from the slots of a window.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

ROWS, PRESENT, SUM, MIN, MAX = range(5)
"""Slot kinds: events, events whose column is not null, scaled integer sum, least, greatest."""

FINISH_COUNT, FINISH_SUM, FINISH_MEAN, FINISH_EXTREME = range(4)

_SLOTS_OF = {"sum": (SUM, PRESENT), "mean": (SUM, PRESENT), "min": (MIN, PRESENT), "max": (MAX, PRESENT)}
_FINISH_OF = {"count": FINISH_COUNT, "sum": FINISH_SUM, "mean": FINISH_MEAN, "min": FINISH_EXTREME, "max": FINISH_EXTREME}


class Tables(NamedTuple):
    """What the compiled functions are given: arrays, all int64 but ``output_scale`` (float64).

    ``slot_*`` have shape [S]; ``level_*`` [L]; ``window_*`` [W], ordered by level, then by length; ``output_*`` [O].
    """

    slot_kind: Int64s
    slot_column: Int64s
    level_hop: Int64s
    level_keep: Int64s
    window_level: Int64s
    window_length: Int64s
    output_window: Int64s
    output_finish: Int64s
    output_value: Int64s
    output_present: Int64s
    output_scale: Float64s


class Program(NamedTuple):
    """A compiled group: the columns it reads, in order, with their scales (powers of ten), and its tables."""

    columns: tuple[str, ...]
    scales: Float64s
    tables: Tables

    @property
    def outputs(self) -> int:
        """How many features it gives."""
        return len(self.tables.output_window)


def compile_group(group: FeatureGroupDef) -> Program:
    """The program of a group. Raises `DeclarationError` for an aggregate that no slot can hold.

    >>> from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef
    >>> mean = AggregateDef("delay_1h", "mean", "delay", 3_600_000, 300_000)
    >>> compile_group(FeatureGroupDef("g", "arrivals", ("carrier",), (mean,), {"delay": 2}, 0)).scales.tolist()
    [100.0]
    """
    columns = tuple(dict.fromkeys(a.column for a in group.aggregates if a.column is not None))
    slots = list(dict.fromkeys(slot for a in group.aggregates for slot in _slots(a, columns)))
    levels = sorted({a.hop_ms for a in group.aggregates})
    windows = sorted({(levels.index(a.hop_ms), a.window_ms) for a in group.aggregates})
    keep = [max(w for level, w in windows if level == index) + group.lateness_ms for index in range(len(levels))]
    scales = [10.0 ** group.scales.get(column, 0) for column in columns]
    outputs = [_output(a, columns, slots, levels, windows) for a in group.aggregates]
    window, finish, value, present = (_ints([output[part] for output in outputs]) for part in range(4))
    tables = Tables(
        slot_kind=_ints([kind for kind, _ in slots]),
        slot_column=_ints([column for _, column in slots]),
        level_hop=_ints(levels),
        level_keep=_ints(keep),
        window_level=_ints([level for level, _ in windows]),
        window_length=_ints([length for _, length in windows]),
        output_window=window,
        output_finish=finish,
        output_value=value,
        output_present=present,
        output_scale=np.array([scales[columns.index(a.column)] if a.column else 1.0 for a in group.aggregates]),
    )
    return Program(columns, np.array(scales, np.float64), tables)


def _slots(aggregate: AggregateDef, columns: tuple[str, ...]) -> list[tuple[int, int]]:
    column = columns.index(aggregate.column) if aggregate.column is not None else -1
    if aggregate.kind == "count":
        return [(ROWS, -1) if column < 0 else (PRESENT, column)]
    if aggregate.kind not in _SLOTS_OF or column < 0:
        raise DeclarationError(f"{aggregate.name}: {aggregate.kind} of {aggregate.column} is no aggregate")
    return [(kind, column) for kind in _SLOTS_OF[aggregate.kind]]


def _output(
    aggregate: AggregateDef,
    columns: tuple[str, ...],
    slots: list[tuple[int, int]],
    levels: list[int],
    windows: list[tuple[int, int]],
) -> tuple[int, int, int, int]:
    mine = [slots.index(slot) for slot in _slots(aggregate, columns)]
    window = windows.index((levels.index(aggregate.hop_ms), aggregate.window_ms))
    return window, _FINISH_OF[aggregate.kind], mine[0], mine[-1]


def _ints(values: list[int]) -> Int64s:
    return np.array(values, np.int64)
