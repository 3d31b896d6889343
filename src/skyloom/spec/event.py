"""Events: typed rows that happened at a time, declared as a class."""

from datetime import UTC, datetime, timedelta
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

import msgspec

from skyloom.kernel.errors import DataError, DeclarationError
from skyloom.kernel.ids import nearest
from skyloom.kernel.schema import DEFAULT_PRECISION, Field, Schema, Type

Timestamp = Annotated[datetime | int, Type.TIMESTAMP]
"""The annotation of a moment: a `datetime` with a time zone, or whole milliseconds since 1970 (UTC)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES: dict[object, Type] = {str: Type.STRING, float: Type.FLOAT, int: Type.INT, bool: Type.BOOL}
_MOST_DIGITS = 15  # a binary64 holds no more decimal digits


class Marker(msgspec.Struct, frozen=True):
    """What stands to the right of a column's annotation. ``role`` is ``key``, ``time`` or empty."""

    role: str = ""
    nullable: bool = False
    precision: int = DEFAULT_PRECISION


class Column(msgspec.Struct, frozen=True):
    """One declared column: its field and its role (``key``, ``time`` or empty)."""

    field: Field
    role: str


def key() -> Any:
    """Marks the column that makes an event this one and no other: a `str` or an `int`, never null."""
    return Marker("key")


def time() -> Any:
    """Marks the column that says when an event happened: a `Timestamp`, never null."""
    return Marker("time")


def field(*, precision: int = DEFAULT_PRECISION, nullable: bool = False) -> Any:
    """Says more about a column: how many decimal digits sums of a `float` keep, and whether it may be missing.

    An annotation such as ``float | None`` also says that it may be missing.

    >>> class Payment(Event):
    ...     id: str = key()
    ...     at: Timestamp = time()
    ...     amount: float = field(precision=2)
    >>> schema_of(Payment)["amount"].precision
    2
    """
    if not 0 <= precision <= _MOST_DIGITS:
        raise DeclarationError(f"a float does not hold {precision} decimal digits", fix=f"give 0 to {_MOST_DIGITS}")
    return Marker("", nullable, precision)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(key, time, field))
class Event:
    """A typed row that happened at a time: subclass it and annotate the columns.

    Annotations are ``str``, ``float``, ``int``, ``bool`` and `Timestamp`, each with ``| None`` when it may be missing.
    One column is `key()`, one is `time()`. Events are frozen; moments are kept in milliseconds since 1970 (UTC).
    Raises `DeclarationError` for an annotation that no column can have, `DataError` for missing or unknown columns
    of an instance and for moments without a time zone.

    >>> class Arrival(Event):
    ...     flight_id: str = key()
    ...     landed: Timestamp = time()
    ...     arr_delay_min: float
    >>> Arrival(flight_id="UA1", landed=datetime(1970, 1, 2, tzinfo=UTC), arr_delay_min=3.0)
    Arrival(flight_id='UA1', landed=86400000, arr_delay_min=3.0)
    """

    __columns__: ClassVar[tuple[Column, ...]] = ()

    def __init_subclass__(cls) -> None:
        hints = {name: hint for name, hint in _hints(cls).items() if get_origin(hint) is not ClassVar}
        cls.__columns__ = tuple(_column(cls, name, hint) for name, hint in hints.items())

    def __init__(self, **values: Any) -> None:
        fields = {column.field.name: column.field for column in self.__columns__}
        _check_names(type(self).__name__, list(values), list(fields))
        self.__dict__.update({name: _value(known, values[name]) for name, known in fields.items()})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"events are frozen: {name} of {type(self).__name__} cannot be set")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def schema_of(event: type[Event]) -> Schema:
    """The schema of an event type; ``key`` and ``time`` are empty when no column was marked so.

    >>> class Visit(Event):
    ...     id: str = key()
    ...     at: Timestamp = time()
    >>> schema_of(Visit).names
    ('id', 'at')
    """
    columns = event.__columns__
    roles = {column.role: column.field.name for column in reversed(columns)}
    return Schema(tuple(column.field for column in columns), roles.get("key", ""), roles.get("time", ""))


def _hints(event: type[Event]) -> dict[str, Any]:
    try:
        return get_type_hints(event, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{event.__name__}: an annotation names something unknown: {error}",
            fix="declare events at the top of a module, and import what their annotations name",
        ) from error


def _column(event: type[Event], name: str, hint: Any) -> Column:
    marker = getattr(event, name, None)
    if marker is None:
        marker = Marker()
    if not isinstance(marker, Marker):
        raise DeclarationError(
            f"{event.__name__}.{name} has the value {marker!r}: columns have no default",
            fix=f"remove it; write {name}: float | None for a column that may be missing",
        )
    kind, optional = _without_none(hint)
    return Column(Field(name, _type(event, name, kind), marker.nullable or optional, marker.precision), marker.role)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    rest = [arg for arg in get_args(hint) if arg is not NoneType]
    return (rest[0], True) if len(rest) == 1 else (hint, False)


def _type(event: type[Event], name: str, hint: Any) -> Type:
    if get_origin(hint) is Annotated:
        types = [extra for extra in get_args(hint)[1:] if isinstance(extra, Type)]
        hint = types[0] if types else get_args(hint)[0]
    if isinstance(hint, Type):
        return hint
    if hint in _TYPES:
        return _TYPES[hint]
    shown = getattr(hint, "__name__", str(hint))
    fix = "write sky.Timestamp" if hint is datetime else "write str, float, int, bool or sky.Timestamp"
    raise DeclarationError(f"{event.__name__}.{name}: no column is a {shown}", fix=fix)


def _check_names(event: str, given: list[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            near = nearest(name, known) or known
            raise DataError(
                f"{event} has no column {name!r}", tried=", ".join(known), fix=f"did you mean {' or '.join(near)}?"
            )
    missing = [name for name in known if name not in given]
    if missing:
        raise DataError(
            f"{event} needs {', '.join(missing)}", tried=", ".join(given), fix="give every column; None for null"
        )


def _value(field: Field, value: Any) -> Any:
    if field.type is not Type.TIMESTAMP or not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise DataError(f"{field.name}: {value} has no time zone", fix="say datetime(..., tzinfo=UTC)")
    return (value - _EPOCH) // timedelta(milliseconds=1)
