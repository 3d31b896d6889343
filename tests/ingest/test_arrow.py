"""Arrow bodies: judged as the same rows in JSON are, and refused before they can do harm."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.ingest.arrow import judge_stream
from skyloom.ingest.codec import decode
from skyloom.ingest.gateway import Judged, judge_objects
from skyloom.ingest.limits import MAX_EXPANDED, MAX_REQUEST_ROWS
from skyloom.kernel.columns import ARROW_TYPES
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.ports.log import LogBatch

NOW = 1_364_800_000_000
SCHEMA = Schema(
    (
        Field("id", Type.STRING),
        Field("at", Type.TIMESTAMP),
        Field("x", Type.FLOAT),
        Field("n", Type.INT, nullable=True),
        Field("ok", Type.BOOL, nullable=True),
        Field("note", Type.STRING, nullable=True),
    ),
    "id",
    "at",
)
SOURCE = SourceDef("arrivals", SCHEMA, limits={"x": 1e9, "n": 1e6})


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table(
        [pa.array([row[f.name] for row in rows], ARROW_TYPES[f.type]) for f in SCHEMA.fields], list(SCHEMA.names)
    )


def stream(rows: pa.Table, compression: str | None = None, chunk: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(rows, chunk)
    return sink.getvalue().to_pybytes()


def values(judged: Judged) -> list[dict[str, Any]]:
    batches = [LogBatch(0, portion.count, NOW, False, portion.payload) for portion in judged.portions]
    return decode(batches, SCHEMA).select(list(SCHEMA.names)).to_pylist()


_row = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "", None]),
        "at": st.sampled_from([NOW, NOW + 10**9, -1, 0, None]),
        "x": st.sampled_from([1.5, -2e9, 1e9, float("nan"), float("inf"), -0.0, None]),
        "n": st.sampled_from([1, -(10**7), 2**63 - 1, None]),
        "ok": st.sampled_from([True, False, None]),
        "note": st.sampled_from(["", "é\U0001f600", "z" * 65_537, None]),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_row, max_size=6), st.sampled_from([None, "lz4", "zstd"]), st.sampled_from([None, 1]))
def test_arrow_is_judged_as_the_same_rows_in_json(rows: list[dict[str, Any]], packed: str | None, chunk: int | None) -> None:
    as_arrow = judge_stream(stream(table(rows), packed, chunk), SOURCE, NOW)
    rows = [{name: row[name] for name in SCHEMA.names} for row in rows]  # of JSON the first fault in its own order is told
    as_json = judge_objects(rows, SOURCE, NOW)
    assert (as_arrow.good, [bad[:2] for bad in as_arrow.bad]) == (as_json.good, [bad[:2] for bad in as_json.bad])
    assert repr(values(as_arrow)) == repr(values(as_json))
    assert all(json.loads(bad.text).keys() == set(SCHEMA.names) for bad in as_arrow.bad)


GOOD: dict[str, Any] = {"id": "a", "at": NOW, "x": 1.0, "n": None, "ok": None, "note": "n"}


def test_views_dictionaries_and_other_units_hold_the_same_rows() -> None:
    plain = table([GOOD, {**GOOD, "id": "b", "note": None}])
    other = pa.table(
        {
            "id": plain["id"].cast(pa.string_view()),
            "at": plain["at"].cast(pa.timestamp("us", tz="Europe/Berlin")),
            "x": plain["x"].cast(pa.float32()),
            "n": pa.nulls(2),
            "ok": plain["ok"],
            "note": plain["note"].dictionary_encode(),
        }
    )
    assert values(judge_stream(stream(other), SOURCE, NOW)) == values(judge_stream(stream(plain), SOURCE, NOW))


def swapped(name: str, column: pa.Array) -> pa.Table:
    rows = table([GOOD])
    return rows.set_column(rows.schema.get_field_index(name), name, column)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "is no Arrow stream"),
    "json": (lambda: b'{"id": "a"}', "is no Arrow stream"),
    "a file": (lambda: b"ARROW1\0\0" + stream(table([GOOD])), "is no Arrow stream"),
    "cut short": (lambda: stream(table([GOOD]))[:-40], "is no Arrow stream"),
    "a column missing": (lambda: stream(table([GOOD]).drop_columns(["x"])), "lacks x"),
    "the time missing": (lambda: stream(table([GOOD]).drop_columns(["at"])), "lacks the time column at"),
    "a column twice": (lambda: stream(table([GOOD]).append_column("x", pa.array([1.0]))), "has x more than once"),
    "a column too many": (lambda: stream(table([GOOD]).append_column("y", pa.array([1.0]))), "y: unknown column"),
    "texts for numbers": (lambda: stream(swapped("x", pa.array(["1"]))), "x is string, but arrivals declares float"),
    "a list": (lambda: stream(swapped("note", pa.array([["a"]]))), "note is list"),
    "a dictionary of lists": (lambda: stream(swapped("note", coded(pa.array([["a"]])))), "note is list"),
    "a dictionary of views": (
        lambda: stream(swapped("note", coded(pa.array(["a"], pa.string_view())))),
        "note is string_view",
    ),
    "unsigned": (lambda: stream(swapped("n", pa.array([2**63], pa.uint64()))), "n is uint64"),
    "an unsafe float": (lambda: stream(swapped("x", pa.array([2**60 + 1]))), "x is int64"),
    "many rows": (
        lambda: stream(pa.table({n: pa.nulls(MAX_REQUEST_ROWS + 1) for n in SCHEMA.names})),
        "more than 65,536 rows",
    ),
    "a packed bomb": (lambda: stream(swapped("note", pa.array(["z" * (MAX_EXPANDED + 1)])), "zstd"), "unpacks to more than"),
    "a bomb of a dictionary": (lambda: stream(dictionary()), "unpacks to more than"),
    "a bomb of views": (lambda: stream(views()), "unpacks to more than"),
}


def coded(values: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), values)


def dictionary() -> pa.Table:
    rows = pa.concat_tables([table([GOOD])] * 1_000)
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000, np.int8)), pa.array(["z" * 60_000]))
    return rows.set_column(5, "note", texts)


def views() -> pa.Table:
    rows = pa.concat_tables([table([GOOD])] * 1_000)
    one = pa.array(["z" * 60_000], pa.string_view())
    view = one.buffers()[1].to_pybytes()
    shared = pa.Array.from_buffers(pa.string_view(), 1_000, [None, pa.py_buffer(view * 1_000), one.buffers()[2]])
    return rows.set_column(5, "note", shared)


@pytest.mark.parametrize("kind", REFUSED)
def test_bodies_that_are_refused_as_a_whole(kind: str) -> None:
    make, reason = REFUSED[kind]
    before = pa.total_allocated_bytes()
    body = make()
    with pytest.raises(DataError) as refused:
        judge_stream(body, SOURCE, NOW)
    assert reason in refused.value.what
    assert pa.total_allocated_bytes() - before < 4 * MAX_EXPANDED


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([None, "lz4"]))
def test_a_damaged_body_is_refused_or_judged_and_never_breaks(data: st.DataObject, packed: str | None) -> None:
    body = bytearray(stream(table([GOOD, {**GOOD, "id": "b"}]), packed))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        judged = judge_stream(bytes(body), SOURCE, NOW)
    except DataError:
        return
    assert judged.good + len(judged.bad) <= MAX_REQUEST_ROWS
    assert all(msgspec.json.decode(bad.text) for bad in judged.bad)


def test_the_way_in_loads_arrow_only_for_arrow() -> None:
    code = (
        "import sys, skyloom.ingest.gateway, skyloom.ingest.limits; assert 'pyarrow' not in sys.modules\n"
        "import skyloom.serving.contracts.events; assert 'skyloom.ingest.arrow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
