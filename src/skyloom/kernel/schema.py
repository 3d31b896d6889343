"""The types of columns, and the schema of a row: what every engine, store and wire format is derived from."""

from enum import StrEnum

import msgspec

DEFAULT_PRECISION = 6


class Type(StrEnum):
    """The type of a column.

    ``TIMESTAMP`` is a moment in whole milliseconds since 1970, UTC. ``FLOAT`` is IEEE 754 binary64, ``INT`` 64 bits, signed.
    """

    STRING = "string"
    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    TIMESTAMP = "timestamp"


class Field(msgspec.Struct, frozen=True):
    """One column.

    ``precision`` counts the decimal digits that sums keep of a ``FLOAT`` (sums are made of scaled integers).
    """

    name: str
    type: Type
    nullable: bool = False
    precision: int = DEFAULT_PRECISION


class Schema(msgspec.Struct, frozen=True):
    """The columns of an event, its key (what makes it this event and no other) and its time column.

    >>> schema = Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP)), key="id", time="at")
    >>> schema["at"].type
    <Type.TIMESTAMP: 'timestamp'>
    """

    fields: tuple[Field, ...]
    key: str
    time: str

    def __getitem__(self, name: str) -> Field:
        """The field of that name; `KeyError` when there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def __contains__(self, name: str) -> bool:
        return any(field.name == name for field in self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in the order of declaration."""
        return tuple(field.name for field in self.fields)
