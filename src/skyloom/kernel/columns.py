"""Schemas and expressions over Arrow tables: the batch twin of `skyloom.kernel.expr.reader`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.kernel.expr import ARITHMETIC, COMPARISON, PARTS, Expression, columns_of, evaluate_row, typed, utc_offset
from skyloom.kernel.expr.row import hash_of
from skyloom.kernel.expr.zones import END, FIRST
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

_FUNCTIONS: dict[str, Callable[..., Any]] = {
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
    "not": pc.invert,
    "is_null": pc.is_null,
    "coalesce": pc.coalesce,
    "lower": pc.ascii_lower,
    "upper": pc.ascii_upper,
    "float": lambda x: _floats(x),
    "where": lambda condition, yes, no: pc.if_else(pc.coalesce(condition, pa.scalar(False)), yes, no),
    "least": lambda a, b: pc.if_else(pc.or_(pc.less_equal(a, b), _is_nan(a)), a, b),
    "greatest": lambda a, b: pc.if_else(pc.or_(pc.greater_equal(a, b), _is_nan(a)), a, b),
    "abs": lambda x: _absolute(x),
    "sqrt": lambda x: pc.sqrt(_null_where(pc.less(_floats(x), 0.0), _floats(x))),
    "finite": lambda x: _null_where(pc.invert(pc.is_finite(x)), x),
    "bucket": lambda x, *bounds: _bucket(x, [bound.as_py() for bound in bounds]),
    "slice": lambda text, start, stop: pc.utf8_slice_codeunits(text, start.as_py(), stop.as_py()),
    "length": lambda text: pc.utf8_length(text).cast(pa.int64()),
}
_WITH_VALUE: dict[str, Callable[[Any, Any], Any]] = {
    "contains": lambda text, value: pc.match_substring(text, value),
    "startswith": lambda text, value: pc.starts_with(text, value),
    "endswith": lambda text, value: pc.ends_with(text, value),
    "hash": lambda values, buckets: _hash(values, buckets),
}
_PARTS = {
    "second": pc.second,
    "minute": pc.minute,
    "hour": pc.hour,
    "weekday": pc.day_of_week,
    "day": pc.day,
    "month": pc.month,
    "year": pc.year,
}


def arrow_schema(schema: Schema) -> pa.Schema:
    """The Arrow schema of the rows of ``schema``; timestamps in milliseconds, UTC."""
    return pa.schema([pa.field(field.name, ARROW_TYPES[field.type], field.nullable) for field in schema.fields])


def evaluate_columns(expression: Expression, table: pa.Table) -> pa.ChunkedArray | pa.Scalar:
    """The values of an expression over every row of ``table`` (times as Arrow timestamps, milliseconds, UTC).

    A feature that is looked up is the column of its name, ``group.aggregate``.

    >>> from skyloom.kernel.expr import col
    >>> evaluate_columns((col("a") > 1).expression, pa.table({"a": [1, 2, None]})).to_pylist()
    [False, True, None]
    """
    op, value = expression.op, expression.value
    if op in ("col", "feature"):
        return table.column(value)
    if op == "lit":
        return pa.scalar(value)
    if not columns_of(expression) and not columns_of(expression, "feature"):
        return pa.scalar(evaluate_row(expression, {}), ARROW_TYPES[typed(expression, {}, {})[1]])
    values: list[Any] = [evaluate_columns(arg, table) for arg in expression.args]
    if op in PARTS:
        return _PARTS[op](_local(values[0], str(value))).cast(pa.int64())
    if op in _WITH_VALUE:
        return _WITH_VALUE[op](values[0], value)
    if op == "/":
        return _divide(*values)
    if op in ARITHMETIC:
        return _arithmetic(op, *values)
    return _FUNCTIONS[op](*(_same_number_type(values) if op in COMPARISON else values))


def _local(times: pa.ChunkedArray, tz: str) -> pa.ChunkedArray:
    """What the clocks of a time zone showed. Arrow has its own reader of time zones, which knows no rule beyond 2037."""
    times = times.cast(pa.int64())
    within = pc.and_(pc.greater_equal(times, FIRST), pc.less(times, END))
    moments = pc.if_else(within, times, 0).fill_null(0).to_numpy()
    hours, hour_of = np.unique(moments // HOUR, return_inverse=True)
    begin = np.array([utc_offset(hour * HOUR, tz) for hour in hours.tolist()], np.int64)
    end = np.array([utc_offset(hour * HOUR + HOUR - 1, tz) for hour in hours.tolist()], np.int64)
    ahead = begin[hour_of]
    changing = np.flatnonzero((begin != end)[hour_of])
    ahead[changing] = [utc_offset(moment, tz) for moment in moments[changing].tolist()]
    shown = pa.array(moments + ahead, pa.int64()).cast(pa.timestamp("ms"))
    return pc.if_else(within.fill_null(False), pa.chunked_array([shown]), pa.scalar(None, pa.timestamp("ms")))


def _arithmetic(op: str, left: Any, right: Any) -> Any:
    if pa.types.is_string(left.type):
        return pc.binary_join_element_wise(left, right, "")
    left, right = _same_number_type([left, right])
    if pa.types.is_floating(left.type):
        return _FUNCTIONS[op](left, right)
    left, right = left.cast(pa.int64()), right.cast(pa.int64())
    return _null_where(_left_64_bits(op, left, right), _FUNCTIONS[op](left, right))


def _left_64_bits(op: str, left: Any, right: Any) -> Any:
    """Where whole numbers overflow: the wrapped result has a sign, or gives a quotient, that no true one could."""
    wrapped = _FUNCTIONS[op](left, right)
    if op == "+":
        odd = pc.bit_wise_and(pc.bit_wise_xor(left, wrapped), pc.bit_wise_xor(right, wrapped))
        return pc.less(odd, 0)
    if op == "-":
        odd = pc.bit_wise_and(pc.bit_wise_xor(left, right), pc.bit_wise_xor(left, wrapped))
        return pc.less(odd, 0)
    minus = pc.equal(right, -1)
    divisor = pc.if_else(pc.or_(pc.equal(right, 0), minus), 1, right)
    unlike = pc.and_(pc.not_equal(pc.divide(wrapped, divisor), left), pc.not_equal(right, 0))
    return pc.if_else(minus, pc.equal(left, -(2**63)), unlike)


def _divide(left: Any, right: Any) -> Any:
    left, right = _floats(left), _floats(right)
    return pc.divide(left, _null_where(pc.equal(right, 0.0), right))


def _absolute(values: Any) -> Any:
    if pa.types.is_floating(values.type):
        return pc.abs(values)
    return pc.abs(_null_where(pc.equal(values, -(2**63)), values))


def _bucket(values: Any, bounds: list[float]) -> Any:
    numbers = _floats(values)
    found = np.searchsorted(np.array(bounds), numbers.fill_null(0.0).to_numpy(zero_copy_only=False), side="right")
    buckets = pa.array(found, pa.int64())
    return pc.if_else(pc.or_(numbers.is_null(), _is_nan(numbers)), None, buckets)


def _hash(values: Any, buckets: int) -> Any:
    known = pc.unique(values)
    hashes = pa.array([None if value is None else hash_of(value, buckets) for value in known.to_pylist()], pa.int64())
    return pc.take(hashes, pc.index_in(values, value_set=known))


def _is_nan(values: Any) -> Any:
    return pc.is_nan(values) if pa.types.is_floating(values.type) else pc.not_equal(values, values)


def _null_where(condition: Any, values: Any) -> Any:
    return pc.if_else(condition, pa.scalar(None, values.type), values)


def _floats(values: Any) -> Any:
    return values.cast(pa.float64(), safe=False)


def _same_number_type(values: list[Any]) -> list[Any]:
    return [_floats(value) for value in values] if any(pa.types.is_floating(value.type) for value in values) else values
