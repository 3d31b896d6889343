"""JSON bodies, decoded as far as needed, with errors for those who sent them."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from skyloom.ingest.rows import RowType, Value
from skyloom.kernel.errors import DataError
from skyloom.serving.wire import Problem

_T = TypeVar("_T")

LAST_MOMENT_MS = 253_402_300_799_999
"""The end of the year 9999: later moments have no calendar."""


def decode(body: bytes, type: type[_T] | Any = Any) -> _T:
    """A JSON body as ``type``; raises `Problem` with 400 for what is no JSON, too deep, or of another shape.

    >>> decode(b'{"a": 1}')
    {'a': 1}
    """
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as error:
        raise Problem(400, str(error)) from error
    except RecursionError as error:
        raise Problem(400, "the JSON is nested too deep") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"the body is not valid JSON: {error}") from error


def read_row(rows: RowType, body: bytes | msgspec.Raw, where: str = "") -> tuple[Value, ...]:
    """The typed values of one request; raises `Problem` with 400 that names the field (after ``where``)."""
    try:
        return in_calendar(rows, rows.from_json(body))
    except DataError as error:
        raise Problem(400, where + error.what) from error


def read_objects(rows: RowType, objects: Sequence[object]) -> list[tuple[Value, ...]]:
    """The typed values of decoded requests; raises `Problem` with 400 that names the row and the field."""
    done: list[tuple[Value, ...]] = []
    for index, each in enumerate(objects):
        try:
            done.append(in_calendar(rows, rows.from_object(each)))
        except DataError as error:
            raise Problem(400, f"row {index}: {error.what}") from error
    return done


def in_calendar(rows: RowType, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """The values, if all their times lie between the years 1970 and 9999; else `DataError`."""
    for index in rows.moments:
        value = values[index]
        if isinstance(value, int) and not 0 <= value <= LAST_MOMENT_MS:
            raise DataError(f"{rows.names[index]}: {value} ms is no time between the years 1970 and 9999")
    return values
