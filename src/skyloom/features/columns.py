"""Events as the kernel takes them: arrays by column, sums already scaled to integers."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skyloom.features.program import MAX, MIN, SUM, Float64s, Int64s, Program
from skyloom.kernel.errors import DataError


class EventColumns(NamedTuple):
    """``ts`` [n] int64 (effective times, ms); ``values`` [C, n] float64, ``scaled`` [C, n] int64, ``valid`` [C, n] bool."""

    ts: Int64s
    values: Float64s
    scaled: Int64s
    valid: npt.NDArray[np.bool_]

    def take(self, order: npt.NDArray[np.intp]) -> "EventColumns":
        """The same events in another order."""
        return EventColumns(
            self.ts[order],
            np.ascontiguousarray(self.values[:, order]),
            np.ascontiguousarray(self.scaled[:, order]),
            np.ascontiguousarray(self.valid[:, order]),
        )


def effective_times(times: pa.ChunkedArray, appended: pa.ChunkedArray) -> Int64s:
    """``min(event time, append time)`` in ms: a clock that runs ahead cannot reach into the future."""
    return np.minimum(milliseconds(times), milliseconds(appended))


def milliseconds(times: pa.ChunkedArray) -> Int64s:
    """A timestamp column without nulls as int64 milliseconds since 1970."""
    return times.cast(pa.int64()).to_numpy()


def event_columns(events: pa.Table, ts: Int64s, program: Program) -> EventColumns:
    """The program's columns of a table of events.

    Raises `DataError` when a value has more digits than a 62-bit sum can hold at the column's precision.
    """
    shape = (max(len(program.columns), 1), len(events))
    values, scaled, valid = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    for c, name in enumerate(program.columns):
        column = events.column(name).combine_chunks()
        kinds = set(program.tables.slot_kind[program.tables.slot_column == c].tolist())
        valid[c] = column.is_valid().to_numpy(zero_copy_only=False)
        if kinds & {MIN, MAX}:
            values[c] = _numbers(column, pa.float64()) + 0.0  # of the two zeros only one: equal values have equal bits
        if SUM in kinds:
            scaled[c] = _scaled(name, column, float(program.scales[c]))
    return EventColumns(ts, values, scaled, valid)


def _numbers(column: pa.Array, wanted: pa.DataType) -> Any:
    return column.cast(wanted, safe=False).fill_null(0).to_numpy(zero_copy_only=False)


def _scaled(name: str, column: pa.Array, scale: float) -> Int64s:
    """Values times ``scale`` as integers, to nearest, ties to even; whole numbers without a way through floats."""
    floats = _numbers(column, pa.float64())
    with np.errstate(over="ignore"):
        product = np.rint(floats * scale)
    if len(product) and np.abs(product).max() >= 2.0**61:
        raise _too_large(name, float(floats[np.abs(product).argmax()]), scale)
    if pa.types.is_floating(column.type):
        return product.astype(np.int64)
    return _numbers(column, pa.int64()) * np.int64(scale)


def _too_large(name: str, value: float, scale: float) -> DataError:
    return DataError(
        f"{name} = {value!r} is too large to be summed with {round(np.log10(scale))} decimal digits",
        fix=f"declare {name} with sky.field(precision=...) of fewer digits",
    )
