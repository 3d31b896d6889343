"""Values of databases: as those of a source's columns, and as a cursor's position is written down."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from skyloom.kernel.errors import DataError
from skyloom.kernel.locations import SqlTable
from skyloom.kernel.schema import Schema, Type


def as_objects(rows: Sequence[tuple[Any, ...]], schema: Schema) -> list[dict[str, object]]:
    """Rows whose first values are those of the schema's columns, in its order, as objects that `RowType` reads."""
    kinds = [(field.name, _FROM_SQL[field.type]) for field in schema.fields]
    return [{name: convert(value) for (name, convert), value in zip(kinds, row, strict=False)} for row in rows]


def cursor_text(value: Any, place: SqlTable) -> tuple[str, str]:
    """A cursor's value as (type, text). Raises `DataError` for a type without an order."""
    kind = type(value).__name__
    if kind not in _READ:
        raise DataError(f"{place.name}: a cursor of {kind} has no order that is known", fix="choose another column")
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)  # the same text whatever the time zone of the session
    return kind, value.isoformat() if isinstance(value, date) else str(value)


_READ: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "Decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "UUID": UUID,
}


def cursor_value(kind: str, text: str) -> Any:
    """What `cursor_text` wrote down.

    >>> cursor_value("Decimal", "1.50")
    Decimal('1.50')
    """
    return _READ[kind](text)


def _number(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else value


def _whole(value: object) -> object:
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return int(value)
    return value


def _truth(value: object) -> object:
    return bool(value) if isinstance(value, int) and value in (0, 1) else value


def _moment(value: object) -> object:
    """A moment; without a time zone, one of UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return value
    return value


_FROM_SQL: dict[Type, Callable[[Any], object]] = {
    Type.STRING: lambda value: str(value) if isinstance(value, UUID) else value,
    Type.FLOAT: _number,
    Type.INT: _whole,
    Type.BOOL: _truth,
    Type.TIMESTAMP: _moment,
}
