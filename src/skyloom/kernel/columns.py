"""Schemas and expressions over Arrow tables: the batch twin of `skyloom.kernel.expr.evaluate_row`."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.kernel.expr import ARITHMETIC, COMPARISON, PARTS, Expression, utc_offset
from skyloom.kernel.schema import Schema, Type
from skyloom.kernel.units import HOUR

pc: Any = _compute  # its functions are made at import time, unseen by type checkers

ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.STRING: pa.string(),
    Type.FLOAT: pa.float64(),
    Type.INT: pa.int64(),
    Type.BOOL: pa.bool_(),
    Type.TIMESTAMP: pa.timestamp("ms", tz="UTC"),
}

_FUNCTIONS = {
    "+": pc.add,
    "-": pc.subtract,
    "*": pc.multiply,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    "and": pc.and_kleene,
    "or": pc.or_kleene,
}
_PARTS = {"hour": pc.hour, "weekday": pc.day_of_week, "day": pc.day, "month": pc.month}


def arrow_schema(schema: Schema) -> pa.Schema:
    """The Arrow schema of the rows of ``schema``; timestamps in milliseconds, UTC."""
    return pa.schema([pa.field(field.name, ARROW_TYPES[field.type], field.nullable) for field in schema.fields])


def evaluate_columns(expression: Expression, table: pa.Table) -> pa.ChunkedArray | pa.Scalar:
    """The values of an expression over every row of ``table`` (times as Arrow timestamps, milliseconds, UTC).

    >>> from skyloom.kernel.expr import col
    >>> evaluate_columns((col("a") > 1).expression, pa.table({"a": [1, 2, None]})).to_pylist()
    [False, True, None]
    """
    op = expression.op
    if op == "col":
        return table.column(expression.value)
    if op == "lit":
        return pa.scalar(expression.value)
    values: list[Any] = [evaluate_columns(arg, table) for arg in expression.args]
    if op == "is_null":
        return pc.is_null(values[0])
    if op == "coalesce":
        return pc.coalesce(*values)
    if op == "not":
        return pc.invert(values[0])
    if op in PARTS:
        return _PARTS[op](_local(values[0], str(expression.value))).cast(pa.int64())
    if op == "/":
        return _divide(*values)
    if op in COMPARISON or op in ARITHMETIC:
        values = _same_number_type(values)
    return _FUNCTIONS[op](*values)


def _local(times: pa.ChunkedArray, tz: str) -> pa.ChunkedArray:
    """What the clocks of a time zone showed. Arrow has its own reader of time zones, which knows no rule beyond 2037."""
    moments = times.cast(pa.int64()).fill_null(0).to_numpy()
    hours, hour_of = np.unique(moments // HOUR, return_inverse=True)
    begin = np.array([utc_offset(hour * HOUR, tz) for hour in hours.tolist()], np.int64)
    end = np.array([utc_offset(hour * HOUR + HOUR - 1, tz) for hour in hours.tolist()], np.int64)
    ahead = begin[hour_of]
    changing = np.flatnonzero((begin != end)[hour_of])
    ahead[changing] = [utc_offset(moment, tz) for moment in moments[changing].tolist()]
    shown = pa.array(moments + ahead, pa.int64()).cast(pa.timestamp("ms"))
    return pc.if_else(times.is_valid(), pa.chunked_array([shown]), pa.scalar(None, pa.timestamp("ms")))


def _divide(left: Any, right: Any) -> Any:
    left, right = left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False)
    zero = pc.equal(right, 0.0)
    return pc.divide(left, pc.if_else(zero, pa.scalar(None, pa.float64()), right))


def _same_number_type(values: list[Any]) -> list[Any]:
    if any(pa.types.is_floating(value.type) for value in values):
        return [value.cast(pa.float64(), safe=False) for value in values]
    return values
