"""The contract of a source, for tables and for rows."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.ingest.contract import REJECTED, check_table, conform, quarantined, shown_rows
from skyloom.ingest.rows import AHEAD, MAX_TEXT, RowType, check_row
from skyloom.kernel.columns import arrow_schema
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type

NOW = 1_364_800_000_000
MOMENT = datetime(2013, 4, 1, 7, 6, 40, tzinfo=UTC)
SCHEMA = Schema(
    (
        Field("id", Type.STRING),
        Field("at", Type.TIMESTAMP),
        Field("x", Type.FLOAT),
        Field("y", Type.FLOAT, nullable=True),
        Field("n", Type.INT),
        Field("ok", Type.BOOL, nullable=True),
        Field("note", Type.STRING, nullable=True),
    ),
    "id",
    "at",
)
SOURCE = SourceDef("arrivals", SCHEMA, limits={"x": 1e9, "n": 2.0**53, "note": 2.0**53, "ok": 2.0**53})
GOOD: dict[str, Any] = {"id": "a", "at": NOW, "x": 1.0, "y": None, "n": 1, "ok": None, "note": None}
LOOSE = pa.schema([pa.field(field.name, field.type) for field in arrow_schema(SCHEMA)])


def rejected_table(table: pa.Table, rejects: list[tuple[int, str]], origin: str, now_ms: int) -> pa.Table:
    rows = shown_rows(table, [row for row, _ in rejects])
    return quarantined([(reason, row) for (_, reason), row in zip(rejects, rows, strict=True)], origin, now_ms)


def table_of(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{**GOOD, **row} for row in rows], LOOSE)


def reasons(*rows: dict[str, Any]) -> list[tuple[int, str]]:
    return check_table(table_of(*rows), SOURCE, NOW).rejects


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": None}, "id: null"),
        ({"id": ""}, "id: empty"),
        ({"at": None}, "at: null"),
        ({"at": -1}, "at: before 1970"),
        ({"at": NOW + AHEAD + 1}, "at: in the future"),
        ({"at": 2**62}, "at: in the future"),
        ({"at": -(2**62)}, "at: before 1970"),
        ({"x": None}, "x: null"),
        ({"x": math.nan}, "x: not a finite number"),
        ({"x": math.inf}, "x: not a finite number"),
        ({"x": -math.inf}, "x: not a finite number"),
        ({"y": math.nan}, "y: not a finite number"),
        ({"x": 1.0000001e9}, "x: larger than 1e+09, which sums at its precision cannot hold"),
        ({"x": -2e9}, "x: larger than 1e+09, which sums at its precision cannot hold"),
        ({"n": 2**53 + 2}, "n: larger than 9.0072e+15, which sums at its precision cannot hold"),
        ({"n": -(2**63)}, "n: larger than 9.0072e+15, which sums at its precision cannot hold"),
        ({"n": None}, "n: null"),
        ({"note": "a" * (MAX_TEXT + 1)}, "note: longer than 65,536 characters"),
    ],
)
def test_a_row_that_breaks_the_contract_says_why_and_the_others_stay(row: dict[str, Any], reason: str) -> None:
    checked = check_table(table_of({"id": "first"}, row, {"id": "last"}), SOURCE, NOW)
    assert checked.rejects == [(1, reason)]
    assert checked.good.column("id").to_pylist() == ["first", "last"]
    assert checked.good.schema == arrow_schema(SCHEMA)
    kept = rejected_table(table_of({"id": "first"}, row), [(1, reason)], "file.parquet", NOW)
    assert kept.schema == REJECTED
    [told] = kept.to_pylist()
    assert (told["reason"], told["origin"], told["at"]) == (
        reason,
        "file.parquet",
        datetime(2013, 4, 1, 7, 6, 40, tzinfo=UTC),
    )
    assert set(json.loads(told["row"])) == set(SCHEMA.names)


_EDGES: list[dict[str, Any]] = [
    *({"at": at} for at in (0, NOW + AHEAD)),
    *({"x": x} for x in (1e9, -1e9)),
    *({"note": note} for note in ("", "a" * MAX_TEXT)),
    {"n": -(2**53)},
    {"y": 1e300},
]


@pytest.mark.parametrize("row", _EDGES)
def test_what_is_just_within_the_contract_stays(row: dict[str, Any]) -> None:
    assert reasons(row) == []
    assert check_row(tuple({**GOOD, **row}.values()), SOURCE, NOW) is None


def test_of_equal_keys_the_first_good_one_stays() -> None:
    rows = [{"id": "a", "x": math.nan}, {"id": "a", "n": 7}, {"id": "b"}, {"id": "a", "n": 8}, {"id": "b"}]
    checked = check_table(table_of(*rows), SOURCE, NOW)
    assert checked.rejects == [(0, "x: not a finite number"), (3, "id: duplicate key"), (4, "id: duplicate key")]
    assert checked.good.column("n").to_pylist() == [7, 1]


def test_keys_that_are_numbers_repeat_too() -> None:
    schema = Schema((Field("id", Type.INT), Field("at", Type.TIMESTAMP)), "id", "at")
    table = pa.table(
        [pa.chunked_array([[0, 1], [0, None, 2]], pa.int64()), pa.array([0] * 5, LOOSE.field("at").type)], ["id", "at"]
    )
    checked = check_table(table, SourceDef("s", schema), NOW)
    assert checked.rejects == [(2, "id: duplicate key"), (3, "id: null")]


def test_moments_in_quarantine_are_text_while_they_can_be() -> None:
    bad = [(0, "x"), (1, "x"), (2, "x")]
    kept = rejected_table(table_of({"at": NOW + 123}, {"at": 2**62}, {"at": None}), bad, "f", NOW)
    assert [json.loads(row)["at"] for row in kept.column("row").to_pylist()] == [
        "2013-04-01T07:06:40.123000+00:00",
        2**62,
        None,
    ]


def test_tables_without_rows_are_checked_too() -> None:
    for empty in (LOOSE.empty_table(), pa.table([pa.chunked_array([], field.type) for field in LOOSE], LOOSE)):
        checked = check_table(conform(empty, SOURCE, "f"), SOURCE, NOW)
        assert (len(checked.good), checked.rejects) == (0, [])
        assert rejected_table(empty, [], "f", NOW).schema == REJECTED


_cells = {
    "id": st.sampled_from(["", "a", "\u00e9"]),
    "at": st.integers(-2, 2) | st.integers(NOW + AHEAD - 1, NOW + AHEAD + 1) | st.just(2**60),
    "x": st.floats() | st.sampled_from([1e9, -1e9, 1e9 + 1]),
    "y": st.floats() | st.none(),
    "n": st.sampled_from([0, 2**53, 2**53 + 2, -(2**63), 2**63 - 1]),
    "ok": st.booleans() | st.none(),
    "note": st.none() | st.sampled_from(["", "a" * MAX_TEXT, "\u00e9" * (MAX_TEXT + 1)]),
}


def _reason(row: dict[str, Any]) -> str | None:
    try:
        return check_row(RowType(SCHEMA).from_object(row), SOURCE, NOW)
    except DataError as error:
        return error.what


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries(_cells))
def test_a_row_is_good_in_a_stream_when_it_is_good_in_a_table(row: dict[str, Any]) -> None:
    assert (_reason(row) is None) is (reasons(row) == [])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(_cells)).flatmap(lambda name: st.tuples(st.just(name), _cells[name])))
def test_one_fault_is_told_in_the_same_words(changed: tuple[str, Any]) -> None:
    row = {**GOOD, changed[0]: changed[1]}
    assert [_reason(row)] == ([reason for _, reason in reasons(row)] or [None])


def conformed(name: str, values: Any, **others: Any) -> list[Any]:
    columns = {key: pa.array([value] * len(values), LOOSE.field(key).type) for key, value in GOOD.items()}
    return conform(pa.table({**columns, **others, name: values}), SOURCE, "f.parquet").column(name).to_pylist()


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("x", pa.array([1, None], pa.int64()), [1.0, None]),
        ("x", pa.array([1, 255], pa.uint8()), [1.0, 255.0]),
        ("x", pa.array([2**53], pa.uint64()), [2.0**53]),
        ("x", pa.array([0.5, -1], pa.float32()), [0.5, -1.0]),
        ("x", pa.array([None, None], pa.null()), [None, None]),
        ("n", pa.array([1, -1], pa.int8()), [1, -1]),
        ("n", pa.array([2**32 - 1], pa.uint32()), [2**32 - 1]),
        ("id", pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        ("id", pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        ("id", pa.array(["a", "b", "a", None]).dictionary_encode(), ["a", "b", "a", None]),
        ("id", pa.array(["a", "a"], pa.large_string()).dictionary_encode(), ["a", "a"]),
        ("n", pa.array([4, 4], pa.int16()).dictionary_encode(), [4, 4]),
    ],
)
def test_other_types_that_hold_the_same_values_are_taken(name: str, values: Any, expected: list[Any]) -> None:
    assert conformed(name, values) == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_moments_of_every_unit_and_zone_are_the_same_moments(unit: str, zone: str | None) -> None:
    moments = pa.array([NOW // 1000, None], pa.timestamp("s", tz=zone)).cast(pa.timestamp(unit, tz=zone))
    assert conformed("at", moments) == [MOMENT, None]


def test_a_moment_keeps_its_milliseconds() -> None:
    assert conformed("at", pa.array([NOW * 1000 + 1999], pa.timestamp("us")))[0].microsecond == 1000


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("x", pa.array(["1.5"]), "f.parquet: x is string, but arrivals declares float"),
        ("x", pa.array([True]), "x is bool, but arrivals declares float"),
        ("x", pa.array([2**53 + 1]), "x is int64, but arrivals declares float: Integer value 9007199254740993"),
        ("x", pa.array([2**64 - 1], pa.uint64()), "x is uint64, but arrivals declares float"),
        ("x", pa.array([NOW], pa.timestamp("ms")), "x is timestamp[ms], but arrivals declares float"),
        ("n", pa.array([1.0]), "n is double, but arrivals declares int"),
        ("n", pa.array([1], pa.uint64()), "n is uint64, but arrivals declares int"),
        ("n", pa.array(["1"]), "n is string, but arrivals declares int"),
        ("ok", pa.array([1]), "ok is int64, but arrivals declares bool"),
        ("id", pa.array([1]), "id is int64, but arrivals declares string"),
        ("id", pa.array([b"a"]), "id is binary, but arrivals declares string"),
        ("id", pa.array([["a"]]), "id is list<"),
        ("id", pa.array([1]).dictionary_encode(), "id is int64, but arrivals declares string"),
        ("at", pa.array([NOW]), "at is int64, but arrivals declares timestamp"),
        ("at", pa.array(["2013-04-01"]), "at is string, but arrivals declares timestamp"),
        ("at", pa.array([15_000], pa.date32()), "at is date32[day], but arrivals declares timestamp"),
        ("at", pa.array([2**62], pa.timestamp("s")), "at is timestamp[s], but arrivals declares timestamp: "),
    ],
)
def test_other_types_that_would_lose_or_invent_are_refused_by_name(name: str, values: Any, told: str) -> None:
    with pytest.raises(DataError) as raised:
        conformed(name, values)
    assert told in raised.value.what
    assert "without loss" in raised.value.tried
    assert f"write the file with {name} as " in raised.value.fix


def test_a_missing_column_is_told_with_the_nearest_names() -> None:
    table = table_of({}).rename_columns(["id", "att", "x", "y", "num", "ok", "note"])
    with pytest.raises(DataError) as raised:
        conform(table, SOURCE, "f.parquet")
    assert raised.value.what == "f.parquet lacks the time column at (perhaps att), n (perhaps num)"
    assert raised.value.tried == "its columns: id, att, x, y, num, ok, note"
    assert "rename the column in the file" in raised.value.fix


def test_a_column_that_stands_twice_is_refused() -> None:
    table = table_of({}).append_column("x", pa.array([1.0]))
    with pytest.raises(DataError, match=r"f\.parquet has x more than once"):
        conform(table, SOURCE, "f.parquet")


def test_other_columns_are_left_behind_and_the_order_is_the_schemas() -> None:
    table = table_of({}).append_column("extra", pa.array([b"x"])).select(["extra", *reversed(SCHEMA.names)])
    assert conform(table, SOURCE, "f").schema == LOOSE


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries(_cells), max_size=12), st.integers(1, 5))
def test_every_row_is_either_good_or_refused_once(rows: list[dict[str, Any]], cut: int) -> None:
    table = pa.concat_tables([table_of(*rows[:cut]), table_of(*rows[cut:])])
    checked = check_table(table, SOURCE, NOW)
    refused = [row for row, _ in checked.rejects]
    assert refused == sorted(set(refused))
    kept = [index for index in range(len(rows)) if index not in refused]
    assert checked.good.column("id").to_pylist() == [rows[index]["id"] for index in kept]
    assert len(set(checked.good.column("id").to_pylist())) == len(kept)
    for text in rejected_table(table, checked.rejects, "f", NOW).column("row").to_pylist():
        msgspec.json.decode(text)
