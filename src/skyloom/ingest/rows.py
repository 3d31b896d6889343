"""One row on the wire: JSON in, typed values out, with errors that name the column."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from skyloom.kernel.errors import DataError
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.kernel.units import MINUTE

Value = float | int | str | bool | None

MAX_TEXT = 65_536
"""The longest string of a column, in characters."""

AHEAD = 10 * MINUTE
"""How far a clock may run ahead before its rows are refused, in ms (less is clamped to the append time)."""

_LEAST, _MOST = -(2**63), 2**63 - 1
NOT_FINITE = "not a finite number"
TOO_LONG = f"longer than {MAX_TEXT:,} characters"

_WIRE_TYPES: dict[Type, Any] = {
    Type.STRING: str,
    Type.FLOAT: float,
    Type.INT: int,
    Type.BOOL: bool,
    Type.TIMESTAMP: int | datetime,
}
_WORDS = {
    "str": "a string",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "null": "null",
    "int | datetime": "a time (milliseconds since 1970, or text such as 2013-04-01T09:30:00Z)",
    "array": "a list",
    "object": "an object",
}
_EXPECTED = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$\.?([^`]*)`)?")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_EXTRA = re.compile(r"Object contains unknown field `([^`]+)`")
_OTHER = re.compile(r"(.+) - at `\$\.?([^`]+)`")


ROWS = b"M"
"""The first byte of a batch that holds rows."""


class RowType:
    """Reads rows of one schema.

    >>> row = RowType(Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP)), "id", "at"))
    >>> row.from_json(b'{"id": "a", "at": "1970-01-01T00:00:01Z"}')
    ('a', 1000)
    >>> row.from_json(b'{"id": 3, "at": 0}')
    Traceback (most recent call last):
    ...
    skyloom.kernel.errors.DataError: id: expected a string, got int
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        fields = [
            (field.name, _WIRE_TYPES[field.type] | None, None) if field.nullable else (field.name, _WIRE_TYPES[field.type])
            for field in schema.fields
        ]
        self._struct = msgspec.defstruct("Row", fields, forbid_unknown_fields=True, kw_only=True)
        self._decoder = msgspec.json.Decoder(self._struct)
        self._wider = msgspec.json.Decoder(msgspec.defstruct("Row", fields, kw_only=True))
        self.named = msgspec.defstruct("Named", schema.names, frozen=True, gc=False)
        """Makes of a row's values an object that is encoded as the dict of them by name, in a fifth of the time."""
        self.names = schema.names
        self.moments = tuple(index for index, field in enumerate(schema.fields) if field.type is Type.TIMESTAMP)
        """Which of the columns are times."""
        self._finish = tuple((index, _FINISH[field.type], field) for index, field in enumerate(schema.fields))
        self._finish_json = tuple(each for each in self._finish if each[2].type not in _WHOLE_IN_JSON)
        self._texts = tuple(index for index, field in enumerate(schema.fields) if field.type is Type.STRING)
        self._wholes = tuple(index for index, field in enumerate(schema.fields) if field.type in (Type.INT, Type.TIMESTAMP))

    def from_json(self, body: bytes | msgspec.Raw) -> tuple[Value, ...]:
        """The values of a JSON object, in the schema's order; times as integer milliseconds. Raises `DataError`."""
        try:
            row = self._decoder.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise self._refused(error) from error
        values = msgspec.structs.astuple(row)
        for index in self._texts:  # most values are right as they are, and need no more than a look
            text = values[index]
            if text is not None and not (len(text) <= MAX_TEXT and text.isascii()):
                return _values(row, self._finish_json)
        for index in self._wholes:
            whole = values[index]
            if whole is not None and (whole.__class__ is not int or not _LEAST <= whole <= _MOST):
                return _values(row, self._finish_json)
        return values

    def from_wider_json(self, body: bytes) -> tuple[Value, ...]:
        """`from_json` of an object made for others too: what is not declared is left behind."""
        try:
            return _values(self._wider.decode(body), self._finish_json)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> DataError:
        if isinstance(error, msgspec.ValidationError):
            return DataError(self._explain(str(error)))
        return DataError(f"not valid JSON: {error}")

    def from_object(self, row: object) -> tuple[Value, ...]:
        """The values of a decoded JSON object. Raises `DataError`."""
        try:
            return _values(msgspec.convert(row, self._struct), self._finish)
        except msgspec.ValidationError as error:
            raise DataError(self._explain(str(error))) from error
        except UnicodeEncodeError as error:
            raise DataError("a column's name is no text: it holds half of a surrogate pair") from error

    def _explain(self, message: str) -> str:
        if found := _MISSING.search(message):
            return f"{found[1]}: missing"
        if found := _EXTRA.search(message):
            near = nearest(found[1], list(self.names))
            return f"{found[1]}: unknown column" + (f" (did you mean {near[0]}?)" if near else "")
        if found := _EXPECTED.search(message):
            wanted = found[1].removesuffix(" | null")
            name = f"{found[3]}: " if found[3] else ""
            return f"{name}expected {_WORDS.get(wanted, wanted)}, got {found[2]}"
        if found := _OTHER.fullmatch(message):
            return f"{found[2]}: {found[1]}"
        return message


@lru_cache(maxsize=256)
def row_type(schema: Schema) -> RowType:
    """The row type of a schema, made once: making one compiles its decoder."""
    return RowType(schema)


def _values(row: msgspec.Struct, finish: "tuple[tuple[int, _Finish, Field], ...]") -> tuple[Value, ...]:
    values: list[Value] = [*msgspec.structs.astuple(row)]
    for index, finished, field in finish:
        value = values[index]
        if value is not None:
            values[index] = finished(field, value)
    return tuple(values)


def _text(field: Field, value: str) -> str:
    if len(value) > MAX_TEXT:
        raise DataError(f"{field.name}: {TOO_LONG}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{field.name}: half a surrogate pair, which is no text") from error
    return value


def _number(field: Field, value: float) -> float:
    if not math.isfinite(value):
        raise DataError(f"{field.name}: {NOT_FINITE}")
    return value


def _whole(field: Field, value: int) -> int:
    if not _LEAST <= value <= _MOST:
        raise DataError(f"{field.name}: {value} does not fit into 64 bits")
    return value


def _moment(field: Field, value: int | datetime) -> int:
    if isinstance(value, int):
        return _whole(field, value)
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MILLISECOND


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = datetime(1970, 1, 1, 0, 0, 0, 1000) - datetime(1970, 1, 1)
_Finish = Callable[[Field, Any], Value]
_FINISH: dict[Type, _Finish] = {
    Type.STRING: _text,
    Type.FLOAT: _number,
    Type.INT: _whole,
    Type.BOOL: lambda field, value: value,
    Type.TIMESTAMP: _moment,
}
_WHOLE_IN_JSON = (Type.FLOAT, Type.BOOL)
"""Types whose values are right as the decoder gives them: JSON has no number that is not finite, and it refuses those out of
range."""


def check_row(row: tuple[Value, ...], source: SourceDef, now_ms: int) -> str | None:
    """Why one typed row breaks the contract, or ``None``. The row has passed `RowType`."""
    schema = source.schema
    for name, limit in source.limits.items():
        value = row[schema.names.index(name)]
        if isinstance(value, int | float) and abs(value) > limit:
            return f"{name}: {too_large(limit)}"
    moment = row[schema.names.index(schema.time)]
    if isinstance(moment, int):
        if moment < 0:
            return f"{schema.time}: before 1970"
        if moment > now_ms + AHEAD:
            return f"{schema.time}: in the future"
    key = row[schema.names.index(schema.key)]
    return f"{schema.key}: empty" if key == "" else None


def null_reason(field: Field) -> str:
    """Why a row of a stream without a value in a column that needs one is refused.

    >>> null_reason(Field("x", Type.FLOAT))
    'x: expected a number, got null'
    """
    kind = _WIRE_TYPES[field.type]
    return f"{field.name}: expected {_WORDS['int | datetime' if field.type is Type.TIMESTAMP else kind.__name__]}, got null"


def too_large(limit: float) -> str:
    """Why a number that sums cannot hold is refused."""
    return f"larger than {limit:g}, which sums at its precision cannot hold"


def encode_rows(rows: Sequence[Sequence[Value]]) -> bytes:
    """Rows of values in the schema's order, as they lie in the log: MessagePack."""
    return ROWS + msgspec.msgpack.encode(rows)
