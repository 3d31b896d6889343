"""Events as the kernel takes them: arrays by column, sums already scaled to integers."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skyloom.features.algebra.codes import coded, numbers
from skyloom.features.algebra.exact import BEYOND
from skyloom.features.algebra.program import COLUMN, KIND, MAX, MIN, SQUARE_LOW, SUM, Float64s, Int64s, Program
from skyloom.kernel.columns import evaluate_columns
from skyloom.kernel.expr import Expression
from skyloom.kernel.ids import canonical_json

Bools = npt.NDArray[np.bool_]


_MOST = 2.0**61
"""From here on a scaled value is one that no 62-bit sum can hold."""


class EventColumns(NamedTuple):
    """``ts`` [n] int64 (effective times, ms); ``offset`` [n] int64 (in the log); ``values`` [C, n] float64, ``scaled`` [C,
    n] int64; ``codes`` [K, n] int64 (see `skyloom.features.algebra.codes`); ``valid`` [V, n] bool, by lane. C and V are at
    least 1. Without codes nobody asks for offsets: then there are none."""

    ts: Int64s
    offset: Int64s
    values: Float64s
    scaled: Int64s
    codes: Int64s
    valid: Bools

    def take(self, order: npt.NDArray[np.intp]) -> "EventColumns":
        """The same events in another order, which names rows that are there."""
        return EventColumns(*(_taken(column, order) for column in self))


def _taken(column: Any, order: npt.NDArray[np.intp]) -> Any:
    """Along the last axis. Clipping is the way of taking that looks at no index twice; none is clipped."""
    return np.take(column, order, axis=-1, mode="clip") if column.size else column


def effective_times(times: pa.ChunkedArray, appended: pa.ChunkedArray) -> Int64s:
    """``min(event time, append time)`` in ms: a clock that runs ahead cannot reach into the future."""
    return np.minimum(milliseconds(times), milliseconds(appended))


def milliseconds(times: pa.ChunkedArray) -> Int64s:
    """A timestamp column without nulls as int64 milliseconds since 1970."""
    return times.cast(pa.int64()).to_numpy()


def event_columns(events: pa.Table, ts: Int64s, program: Program) -> EventColumns:
    """The program's columns of a table of events.

    A float that is no number counts as null.
    """
    shape, tables = (max(len(program.columns), 1), len(events)), program.tables
    values, scaled = np.zeros(shape), np.zeros(shape, np.int64)
    arrays = {name: events.column(name).combine_chunks() for name in program.columns}
    narrow = tables.slots[tables.slots[:, KIND] <= SQUARE_LOW]
    for c, column in enumerate(arrays.values()):
        kinds = set(narrow[narrow[:, COLUMN] == c, KIND].tolist())
        if kinds & {MIN, MAX}:
            values[c] = numbers(column)  # of the two zeros only one: equal values have equal bits
        if kinds & {SUM, SQUARE_LOW}:
            scaled[c] = _scaled(column, float(program.scales[c]))
    codes = np.zeros((len(program.codes), len(events)), np.int64)
    for k, code in enumerate(program.codes):
        codes[k] = coded(arrays[code.column], code)
    offset = events.column("_offset").to_numpy() if program.codes else np.zeros(0, np.int64)
    return EventColumns(ts, offset, values, scaled, codes, _valid(events, arrays, program))


def _valid(events: pa.Table, arrays: dict[str, pa.Array], program: Program) -> Bools:
    """Which events each lane takes, shape [V, n]. A condition is evaluated once, whatever lanes have it."""
    valid = np.ones((max(len(program.lanes), 1), len(events)), np.bool_)
    true: dict[bytes, Bools] = {}
    for v, lane in enumerate(program.lanes):
        if lane.column is not None:
            valid[v] = _is_there(arrays[lane.column])
        if lane.where is not None:
            condition = canonical_json(lane.where)
            if condition not in true:
                true[condition] = _is_true(events, lane.where)
            valid[v] &= true[condition]
    return valid


def _is_there(column: pa.Array) -> Bools:
    if not pa.types.is_floating(column.type):
        return column.is_valid().to_numpy(zero_copy_only=False)
    return ~np.isnan(column.cast(pa.float64()).to_numpy(zero_copy_only=False))  # Arrow makes a null NaN


def _is_true(events: pa.Table, where: Expression) -> Bools:
    answer = evaluate_columns(where, events)
    if isinstance(answer, pa.Scalar):
        return np.full(len(events), answer.as_py() is True)
    return answer.fill_null(False).to_numpy(zero_copy_only=False)


def _filled(column: pa.Array, wanted: pa.DataType) -> Any:
    return column.cast(wanted, safe=False).fill_null(0).to_numpy(zero_copy_only=False)


def _scaled(column: pa.Array, scale: float) -> Int64s:
    """Values times ``scale`` as integers, to nearest, ties to even; whole numbers without a way through floats. BEYOND is
    what no 62-bit sum can hold."""
    floats = _filled(column, pa.float64())
    is_whole = not pa.types.is_floating(column.type)
    with np.errstate(over="ignore"):
        product = floats * scale
    np.rint(product, out=product)
    if product.max(initial=0.0) < _MOST and product.min(initial=0.0) > -_MOST:  # what is no number is neither
        return _filled(column, pa.int64()) * np.int64(scale) if is_whole else product.astype(np.int64)
    product = np.nan_to_num(product, nan=0.0, posinf=np.inf, neginf=-np.inf)
    beyond = np.abs(product) >= _MOST
    units = _filled(column, pa.int64()) * np.int64(scale) if is_whole else np.where(beyond, 0.0, product).astype(np.int64)
    return np.where(beyond, np.int64(BEYOND), units)
