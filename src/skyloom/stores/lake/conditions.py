"""Conditions on columns, as Arrow evaluates them while it scans."""

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import msgspec
import pyarrow as pa

from skyloom.kernel.errors import DataError, UsageError
from skyloom.kernel.ids import nearest

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Condition(msgspec.Struct, frozen=True):
    """``column op value``; ``value`` is a collection for ``in``."""

    column: str
    op: str
    value: Any


def known_columns(schema: pa.Schema, names: Sequence[str] | None, table: str) -> list[str]:
    """``names``, or all columns. Raises `DataError` for one that is not in ``schema``, with the nearest that are."""
    for name in names or ():
        if name not in schema.names:
            near = nearest(name, schema.names) or schema.names
            raise DataError(f"{table} has no column {name!r}", tried=", ".join(schema.names), fix=f"did you mean {near[0]}?")
    return list(schema.names if names is None else names)


def split(conditions: Sequence[Condition], schema: pa.Schema) -> tuple[list[Condition], list[Condition]]:
    """Those to evaluate while scanning, where the statistics of a file can rule it out, and those to evaluate after.

    The statistics say nothing of NaN, and nothing true of infinity: conditions on floats come after.
    """
    pushed: list[Condition] = []
    kept: list[Condition] = []
    for condition in conditions:
        (kept if pa.types.is_floating(schema.field(condition.column).type) else pushed).append(condition)
    return pushed, kept


def condition_filter(conditions: Sequence[Condition], schema: pa.Schema) -> Any:
    """One Arrow expression for all conditions over the stored types, or ``None`` without any."""
    terms = [_term(condition, schema.field(condition.column).type) for condition in conditions]
    return reduce(operator.and_, terms) if terms else None


def _term(condition: Condition, kind: pa.DataType) -> Any:
    import pyarrow.compute as _compute

    pc: Any = _compute
    field = pc.field(condition.column)
    if condition.op == "in":
        # Null and NaN equal nothing, 0.0 equals -0.0: Arrow's own ``isin`` thinks otherwise.
        values = [value for value in condition.value if value is not None and value == value]  # noqa: PLR0124
        scalars = [_scalar(value, kind, condition.column) for value in values]
        if scalars and pa.types.is_floating(kind):
            return reduce(operator.or_, (field == scalar for scalar in scalars))
        return field.isin(pa.array([scalar.as_py() for scalar in scalars], _stored(kind)))
    if condition.op not in _COMPARE:
        raise UsageError(f"{condition.op!r} is no condition", tried=", ".join([*_COMPARE, "in"]))
    return _COMPARE[condition.op](field, _scalar(condition.value, kind, condition.column))


def _stored(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(kind) else kind


def _scalar(value: Any, kind: pa.DataType, column: str) -> pa.Scalar:
    try:
        return pa.scalar(value, kind).cast(_stored(kind))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise DataError(f"column {column!r} is {kind} and cannot be compared with {value!r}") from error
