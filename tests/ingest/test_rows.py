"""Rows on the wire: every kind of value that is not what a column holds, told by the column's name."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.ingest.rows import MAX_TEXT, RowType
from skyloom.kernel.errors import DataError
from skyloom.kernel.schema import Field, Schema, Type

SCHEMA = Schema(
    (
        Field("id", Type.STRING),
        Field("note", Type.STRING, nullable=True),
        Field("at", Type.TIMESTAMP),
        Field("x", Type.FLOAT),
        Field("n", Type.INT, nullable=True),
        Field("ok", Type.BOOL),
    ),
    "id",
    "at",
)
ROWS = RowType(SCHEMA)
GOOD: dict[str, Any] = {"id": "a", "note": None, "at": 0, "x": 1.5, "n": 3, "ok": True}


def refusal(body: bytes) -> str:
    with pytest.raises(DataError) as raised:
        ROWS.from_json(body)
    return raised.value.what


def refusal_of(**changed: Any) -> str:
    row = {**GOOD, **changed}
    with pytest.raises(DataError) as raised:
        ROWS.from_object(row)
    assert refusal(json.dumps(row).encode()) == raised.value.what
    return raised.value.what


def test_values_come_in_the_schemas_order_whatever_the_objects() -> None:
    row = dict(reversed(list(GOOD.items())))
    assert ROWS.from_json(json.dumps(row).encode()) == ("a", None, 0, 1.5, 3, True)
    assert ROWS.from_object(row) == ("a", None, 0, 1.5, 3, True)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"id": None}, "id: expected a string, got null"),
        ({"id": 3}, "id: expected a string, got int"),
        ({"id": ["a"]}, "id: expected a string, got array"),
        ({"note": {"a": 1}}, "note: expected a string, got object"),
        ({"id": "a" * (MAX_TEXT + 1)}, "id: longer than 65,536 characters"),
        ({"x": "1.5"}, "x: expected a number, got str"),
        ({"x": True}, "x: expected a number, got bool"),
        ({"x": None}, "x: expected a number, got null"),
        ({"x": 10**400}, "x: Number out of range"),
        ({"n": 1.5}, "n: expected a whole number, got float"),
        ({"n": "1"}, "n: expected a whole number, got str"),
        ({"n": 2**63}, "n: 9223372036854775808 does not fit into 64 bits"),
        ({"n": -(2**63) - 1}, "n: -9223372036854775809 does not fit into 64 bits"),
        ({"ok": 1}, "ok: expected true or false, got int"),
        ({"ok": "true"}, "ok: expected true or false, got str"),
        ({"ok": None}, "ok: expected true or false, got null"),
        ({"at": None}, "at: expected a time (milliseconds since 1970, or text such as 2013-04-01T09:30:00Z), got null"),
        ({"at": 1.5}, "at: expected a time (milliseconds since 1970, or text such as 2013-04-01T09:30:00Z), got float"),
        ({"at": "yesterday"}, "at: Invalid RFC3339 encoded datetime"),
        ({"at": "2013-02-30T00:00:00Z"}, "at: Invalid RFC3339 encoded datetime"),
        ({"at": 2**63}, "at: 9223372036854775808 does not fit into 64 bits"),
        ({"nots": 1}, "nots: unknown column (did you mean note?)"),
        ({"qqqq": 1}, "qqqq: unknown column"),
    ],
)
def test_a_wrong_value_names_its_column(changed: dict[str, Any], told: str) -> None:
    assert refusal_of(**changed) == told


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(DataError, match="x: not a finite number"):
        ROWS.from_object({**GOOD, "x": value})


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(DataError, match="id: half a surrogate pair"):
        ROWS.from_object({**GOOD, "id": "\ud800"})


@pytest.mark.parametrize("name", ["id", "at", "x", "ok"])
def test_a_missing_column_is_named(name: str) -> None:
    row = {key: value for key, value in GOOD.items() if key != name}
    assert refusal(json.dumps(row).encode()) == f"{name}: missing"


def test_a_row_by_name_is_encoded_as_the_dict_of_it() -> None:
    row = ROWS.from_json(json.dumps(GOOD).encode())
    assert ROWS.names == tuple(GOOD)
    for encode in (msgspec.msgpack.encode, msgspec.json.encode):
        assert encode(ROWS.named(*row)) == encode(dict(zip(ROWS.names, row, strict=True)))


def test_nullable_columns_may_be_left_out_or_null() -> None:
    row = {key: value for key, value in GOOD.items() if key not in ("note", "n")}
    assert ROWS.from_json(json.dumps(row).encode()) == ("a", None, 0, 1.5, None, True)
    assert ROWS.from_object({**row, "n": None})[4] is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"id": NaN}', "not valid JSON"),
        (b'{"id": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, "expected an object, got array"),
        (b'{"id": ' + b"[" * 100_000, "id: expected a string, got array"),
        (b'{"zzzzzz": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "zzzzzz: unknown column"),
        (b"[]", "expected an object, got array"),
        (b"null", "expected an object, got null"),
        (b"3", "expected an object, got int"),
    ],
)
def test_what_is_no_object_is_refused(body: bytes, told: str) -> None:
    assert refusal(body).startswith(told)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2013-04-01T09:30:00.123Z", 1_364_808_600_123),
        ("2013-04-01T09:30:00.123999Z", 1_364_808_600_123),
        ("2013-04-01T05:30:00-04:00", 1_364_808_600_000),
        ("2013-04-01T09:30:00", 1_364_808_600_000),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_times_as_text(text: str, moment: int) -> None:
    assert ROWS.from_object({**GOOD, "at": text})[2] == moment
    assert ROWS.from_json(json.dumps({**GOOD, "at": text}).encode())[2] == moment


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999), st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_the_same_as_text_and_as_a_number(moment: int, minutes: int) -> None:
    aware = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment)
    try:
        text = aware.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    except OverflowError:  # the years 1 and 9999 end in one time zone sooner than in another
        text = aware.isoformat()
    assert ROWS.from_object({**GOOD, "at": text}) == ROWS.from_object({**GOOD, "at": moment})


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2013-04-01T09:30:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _read(read: Any, row: Any) -> Any:
    try:
        return read(row)
    except DataError as error:
        return error.what


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from([*SCHEMA.names, "other"]), _json) | _json, st.booleans())
def test_bytes_and_objects_are_judged_alike_and_never_break(row: Any, filled: bool) -> None:
    row = {**GOOD, **row} if filled and isinstance(row, dict) else row
    try:
        body = msgspec.json.encode(row)
    except (UnicodeEncodeError, OverflowError):
        _read(ROWS.from_object, row)
        return
    told, judged = _read(ROWS.from_json, body), _read(ROWS.from_object, msgspec.json.decode(body))
    if isinstance(told, str) and isinstance(judged, str):  # an integer beyond 64 bits is called a float in one of them
        told, judged = told.replace("got float", "got int"), judged.replace("got float", "got int")
    assert told == judged


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    _read(ROWS.from_json, body)
