"""The same rows in every format are the same values, and the same complaint names what is wrong."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from serving_world import FLIGHTS, NOW

from skyloom.ingest.rows import RowType
from skyloom.serving.formats.media import ARROW_STREAM, CSV, JSON, LINES, PARQUET, Media
from skyloom.serving.formats.reading import read
from skyloom.serving.wire import Problem

ROWS = RowType(FLIGHTS.schema)
NAMES = list(FLIGHTS.schema.names)
TYPES = pa.schema(
    [
        ("flight_id", pa.string()),
        ("scheduled", pa.timestamp("ms", "UTC")),
        ("carrier", pa.string()),
        ("distance", pa.float64()),
        ("seats", pa.int64()),
        ("charter", pa.bool_()),
    ]
)
Flight = dict[str, Any]
FLIGHT: Flight = {"flight_id": "f", "scheduled": NOW, "carrier": "UA", "distance": 1.5, "seats": 3, "charter": True}


def values(kind: str, body: bytes, **parameters: str) -> list[tuple[Any, ...]]:
    return read(kind, Media(kind, parameters), ROWS, FLIGHTS, body).rows


def complaint(kind: str, body: bytes, **parameters: str) -> tuple[int, str]:
    with pytest.raises(Problem) as found:
        values(kind, body, **parameters)
    return found.value.status, found.value.why


def table(rows: list[Flight], schema: pa.Schema = TYPES) -> pa.Table:
    return pa.Table.from_pylist(rows, schema)


def stream(made: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, made.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(made)
    return sink.getvalue()


def file(made: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, made.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(made)
    return sink.getvalue()


def columnar(made: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(made, sink, **options)
    return sink.getvalue()


def text(rows: list[Flight], header: bool = True) -> bytes:
    sink = io.StringIO()
    writer = csv.writer(sink)
    if header:
        writer.writerow(NAMES)
    for row in rows:
        cells = [row[name] for name in NAMES]
        writer.writerow(["" if cell is None else json.dumps(cell) if isinstance(cell, bool) else cell for cell in cells])
    return sink.getvalue().encode()


def document(form: Callable[[list[Flight]], Any]) -> Callable[[list[Flight]], tuple[str, bytes]]:
    return lambda rows: (JSON, json.dumps(form(rows)).encode())


def lists(rows: list[Flight]) -> list[list[Any]]:
    return [[row[name] for name in NAMES] for row in rows]


def columns(rows: list[Flight]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in reversed(NAMES)}


FORMS: dict[str, Callable[[list[Flight]], tuple[str, bytes]]] = {
    "rows": document(lambda rows: rows),
    "lists": document(lists),
    "instances": document(lambda rows: {"instances": rows, "parameters": {}}),
    "lists in instances": document(lambda rows: {"instances": lists(rows)}),
    "features in instances": document(lambda rows: {"instances": [{"features": row} for row in lists(rows)]}),
    "inputs by column": document(lambda rows: {"inputs": columns(rows)}),
    "inputs by row": document(lambda rows: {"inputs": rows}),
    "dataframe_split": document(lambda rows: {"dataframe_split": {"columns": NAMES, "data": lists(rows), "index": [9]}}),
    "dataframe_records": document(lambda rows: {"dataframe_records": rows}),
    "input_data": document(lambda rows: {"input_data": {"columns": NAMES, "data": lists(rows)}}),
    "input_data by row": document(lambda rows: {"input_data": lists(rows)}),
    "columns": document(lambda rows: {"columns": columns(rows)}),
    "split": document(lambda rows: {"columns": NAMES, "data": lists(rows)}),
    "data": document(lambda rows: {"data": rows}),
    "features": document(lambda rows: {"features": lists(rows)}),
    "lines": lambda rows: (LINES, b"\r\n\n".join(json.dumps(row).encode() for row in rows)),
    "lines of lists": lambda rows: (LINES, b"\n".join(json.dumps(row).encode() for row in lists(rows))),
    "arrow stream": lambda rows: (ARROW_STREAM, stream(table(rows))),
    "packed arrow stream": lambda rows: (ARROW_STREAM, stream(table(rows), compression="zstd")),
    "arrow file": lambda rows: (ARROW_STREAM, file(table(rows))),
    "parquet": lambda rows: (PARQUET, columnar(table(rows))),
    "parquet, plain pages": lambda rows: (PARQUET, columnar(table(rows), use_dictionary=False, compression="none")),
    "parquet, other pages": lambda rows: (PARQUET, columnar(table(rows), data_page_version="2.0", compression="zstd")),
    "parquet, row groups": lambda rows: (PARQUET, columnar(table(rows), row_group_size=1, compression="gzip")),
}
FLIGHTS_MADE = st.fixed_dictionaries(
    {
        "flight_id": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        "scheduled": st.integers(0, 4_102_444_800_000),
        "carrier": st.none() | st.sampled_from(["UA", "", 'ü,\n"x']),
        "distance": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "seats": st.integers(-(2**63), 2**63 - 1),
        "charter": st.booleans(),
    }
)


@settings(max_examples=15, deadline=None)
@given(st.lists(FLIGHTS_MADE, min_size=1, max_size=4))
def test_every_format_reads_the_same_values(rows: list[Flight]) -> None:
    expected = [tuple(row[name] for name in NAMES) for row in rows]
    for name, made in FORMS.items():
        assert values(*made(rows)) == expected, name


LINE = st.text(st.sampled_from("abü ,\"'\n;"), max_size=5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(FLIGHTS_MADE.map(lambda row: {**row, "carrier": row["carrier"] or ""}), min_size=1, max_size=4), st.booleans()
)
def test_csv_reads_the_same_values_with_names_and_without(rows: list[Flight], header: bool) -> None:
    rows = [{**row, "flight_id": row["flight_id"].replace("\0", "")} for row in rows]
    assert values(CSV, text(rows, header)) == [tuple(row[name] for name in NAMES) for row in rows]


BAD: list[tuple[str, Flight, str]] = [
    ("null where none may be", {"seats": None}, "row 1: seats: expected a whole number, got null"),
    ("a long string", {"carrier": "x" * 65_537}, "row 1: carrier: longer than 65,536 characters"),
    ("before 1970", {"scheduled": -5}, "row 1: scheduled: -5 ms is no time between the years 1970 and 9999"),
    ("after the calendar", {"scheduled": 10**15}, f"row 1: scheduled: {10**15} ms is no time"),
]


@pytest.mark.parametrize(("change", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_row_and_its_field_are_named_alike(change: Flight, says: str) -> None:
    for name, made in FORMS.items():
        status, why = complaint(*made([FLIGHT, {**FLIGHT, **change}]))
        spoken = why.replace("instances[1]", "row 1").replace("dataframe_records[1]", "row 1")
        assert (status, spoken[: len(says)]) == (400, says), name


@pytest.mark.parametrize("lacking", ["seats", "scheduled"])
def test_a_missing_column_is_named(lacking: str) -> None:
    row = {name: value for name, value in FLIGHT.items() if name != lacking}
    schema = pa.schema([field for field in TYPES if field.name != lacking])
    names = ",".join(row)
    assert complaint(JSON, json.dumps([row]).encode()) == (400, f"row 0: {lacking}: missing")
    for kind, body in (
        (ARROW_STREAM, stream(table([row], schema))),
        (PARQUET, columnar(table([row], schema))),
        (CSV, f"{names}\n{names}\n".encode()),
    ):
        assert complaint(kind, body) == (400, f"{lacking}: missing")


def test_a_column_that_may_be_null_may_be_left_out() -> None:
    row = {name: value for name, value in FLIGHT.items() if name not in ("carrier", "distance")}
    schema = pa.schema([field for field in TYPES if field.name in row])
    expected = [("f", NOW, None, None, 3, True)]
    assert values(JSON, json.dumps({"inputs": {name: [value] for name, value in row.items()}}).encode()) == expected
    assert values(ARROW_STREAM, stream(table([row], schema))) == expected
    assert values(PARQUET, columnar(table([row], schema))) == expected
    assert values(CSV, f"flight_id,scheduled,seats,charter\nf,{NOW},3,true\n".encode()) == expected


def test_an_unknown_column_is_named_with_the_nearest() -> None:
    schema = pa.schema([pa.field("carier" if field.name == "carrier" else field.name, field.type) for field in TYPES])
    row = {"carier" if name == "carrier" else name: value for name, value in FLIGHT.items()}
    says = "carier: unknown column (did you mean carrier?)"
    assert complaint(JSON, json.dumps([row]).encode()) == (400, f"row 0: {says}")
    assert complaint(ARROW_STREAM, stream(table([row], schema))) == (400, says)
    assert complaint(PARQUET, columnar(table([row], schema))) == (400, says)
    assert complaint(CSV, text([FLIGHT]).replace(b"carrier", b"carier")) == (400, says)
    assert complaint(CSV, text([FLIGHT]).replace(b"carrier", b"seats")) == (400, "seats: given twice")


def test_numbers_that_lose_nothing_are_taken_in_other_types() -> None:
    schema = pa.schema(
        [
            ("flight_id", pa.dictionary(pa.int8(), pa.string())),
            ("scheduled", pa.int64()),
            ("carrier", pa.large_string()),
            ("distance", pa.int32()),
            ("seats", pa.float64()),
            ("charter", pa.bool_()),
        ]
    )
    made = table([{**FLIGHT, "distance": 2}], schema)
    for kind, body in ((ARROW_STREAM, stream(made)), (PARQUET, columnar(made))):
        assert values(kind, body) == [("f", NOW, "UA", 2.0, 3, True)]
    broken = table([{**FLIGHT, "distance": 2, "seats": 3.5}], schema)
    assert "seats: expected a whole number" in complaint(ARROW_STREAM, stream(broken))[1]
    schema = schema.set(5, pa.field("charter", pa.string()))
    assert "charter is string" in complaint(PARQUET, columnar(table([{**FLIGHT, "distance": 2, "charter": "x"}], schema)))[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_in_tables(value: float) -> None:
    made = table([{**FLIGHT, "distance": value}])
    for kind, body in (
        (ARROW_STREAM, stream(made)),
        (PARQUET, columnar(made)),
        (CSV, text([{**FLIGHT, "distance": value}])),
    ):
        assert "distance: not a finite number" in complaint(kind, body)[1]


CSVS: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "no line"),
    ("empty lines", b"\n\n", "no line"),
    ("no UTF-8", b"\xff\xfe", "no CSV"),
    ("a quote that stays open", b'flight_id,"', "no CSV"),
    ("a short row", b"flight_id,scheduled,seats,charter\nf,1\n", "row 0: 2 values for 4 columns"),
    ("no number", b"flight_id,scheduled,seats,charter\nf,1,many,true\n", "row 0: seats: 'many' is not a whole number"),
    ("names that are none", b"f,tomorrow,UA,1.5,3,true\n", "f: unknown column"),
    ("an endless cell", b"flight_id,scheduled,seats,charter\n" + b"x" * 200_000 + b",1,1,true\n", "no CSV"),
]


@pytest.mark.parametrize(("body", "says"), [case[1:] for case in CSVS], ids=[case[0] for case in CSVS])
def test_bad_csv_says_why(body: bytes, says: str) -> None:
    status, why = complaint(CSV, body)
    assert (status, says in why) == (400, True), why


def test_who_says_so_has_a_header_or_none() -> None:
    body = text([FLIGHT], header=False)
    assert values(CSV, body) == values(CSV, body, header="absent") == values(CSV, text([FLIGHT]), header="present")
    assert "unknown column" in complaint(CSV, body, header="present")[1]
    assert "scheduled: 'scheduled' is not a time" in complaint(CSV, text([FLIGHT]), header="absent")[1]
    assert complaint(CSV, body, header="perhaps") == (400, "header=perhaps: say present or absent")


DOCUMENTS: list[tuple[str, Any, str]] = [
    ("a number", 3, "neither a row"),
    ("two envelopes", {"instances": [], "inputs": []}, "give one of instances and inputs, not both"),
    ("instances that are no list", {"instances": {}}, "instances: expected a list of rows"),
    ("uneven columns", {"inputs": {"seats": [1, 2], "charter": [True]}}, "different numbers of rows: [1, 2]"),
    ("a text for inputs", {"inputs": "x"}, "inputs: expected rows or columns"),
    ("a split without rows", {"dataframe_split": {"columns": ["a"]}}, "dataframe_split: data is a list of rows"),
    ("a split that is a list", {"dataframe_split": []}, "dataframe_split: expected an object"),
    ("a split with odd names", {"columns": [1], "data": []}, "columns are a list of names"),
    ("a split that names twice", {"columns": ["a", "a"], "data": []}, "a column is named twice"),
    ("a split with a short row", {"columns": ["a", "b"], "data": [[1]]}, "row 0: expected a list of 2 values"),
    ("a short list", [[1, 2]], "row 0: 2 values for the columns flight_id, scheduled"),
    ("rows that are none", {"instances": [None]}, "instances[0]: expected an object, got null"),
    ("outputs that are no names", {"instances": [], "parameters": {"outputs": [1]}}, "parameters.outputs: expected"),
]


@pytest.mark.parametrize(("value", "says"), [case[1:] for case in DOCUMENTS], ids=[case[0] for case in DOCUMENTS])
def test_documents_that_are_none_say_why(value: Any, says: str) -> None:
    status, why = complaint(JSON, json.dumps(value).encode())
    assert (status, says in why) == (400, True), why


def test_a_line_that_is_no_json_is_named() -> None:
    assert complaint(LINES, json.dumps(FLIGHT).encode() + b"\n{\n")[1].startswith("row 1: the body is not valid JSON")


def test_outputs_may_be_asked_for_in_a_document() -> None:
    for key in ("parameters", "params"):
        body = json.dumps({"instances": [FLIGHT], key: {"outputs": ["score", "label"], "other": 1}}).encode()
        assert read(JSON, Media(JSON), ROWS, FLIGHTS, body).outputs == ("score", "label")
