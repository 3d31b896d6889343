"""Bodies that want more than they show: refused before they are unpacked."""

import io
import random
import tracemalloc
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from serving_world import FLIGHTS, NOW

from skyloom.ingest.limits import MAX_REQUEST_ROWS
from skyloom.ingest.rows import RowType
from skyloom.serving.formats.media import ARROW_STREAM, CSV, JSON, LINES, PARQUET, Media
from skyloom.serving.formats.pages import pages_of
from skyloom.serving.formats.reading import read
from skyloom.serving.wire import Problem

ROWS = RowType(FLIGHTS.schema)


def refused(kind: str, body: bytes) -> tuple[int, str]:
    before = pa.total_allocated_bytes()
    with pytest.raises(Problem) as found:
        read(kind, Media(kind), ROWS, FLIGHTS, body)
    assert pa.total_allocated_bytes() - before < 64 * 2**20
    return found.value.status, found.value.why


def flights(rows: int, carrier: str = "UA") -> pa.Table:
    return pa.table(
        {
            "flight_id": ["f"] * rows,
            "scheduled": pa.array([NOW] * rows, pa.timestamp("ms", "UTC")),
            "carrier": [carrier] * rows,
            "distance": [1.0] * rows,
            "seats": [1] * rows,
            "charter": [True] * rows,
        }
    )


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


def as_arrow(table: pa.Table, *, file: bool = False) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    make = pa.ipc.new_file if file else pa.ipc.new_stream
    with make(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_too_many_rows_are_refused_in_every_format() -> None:
    rows = MAX_REQUEST_ROWS + 1
    table = flights(rows)
    assert refused(PARQUET, as_parquet(table))[0] == 413
    assert "more than 65,536 rows" in refused(ARROW_STREAM, as_arrow(table))[1]
    assert refused(LINES, b"1\n" * rows)[0] == 413
    assert refused(JSON, b"[" + b"1," * rows + b"1]")[0] == 413
    assert refused(CSV, b"flight_id,scheduled,seats,charter\n" + b"a,1,1,true\n" * rows)[0] == 413


def test_pages_that_unpack_to_too_much_are_refused_before_they_are_unpacked() -> None:
    bomb = as_parquet(flights(1_000, "x" * 60_000), use_dictionary=False, compression="zstd")
    assert len(bomb) < 60_000
    assert refused(PARQUET, bomb) == (413, "the body unpacks to more than 16,777,216 bytes")


def test_a_dictionary_that_many_rows_share_is_no_way_around() -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 60_000, pa.int32()), pa.array(["x" * 60_000]))
    shared = as_parquet(flights(60_000).set_column(2, "carrier", texts), compression="zstd")
    assert len(shared) < 100_000
    assert refused(PARQUET, shared) == (413, "the body unpacks to more than 16,777,216 bytes")


def test_texts_that_share_their_beginnings_are_refused() -> None:
    made = as_parquet(flights(10), use_dictionary=False, column_encoding={"carrier": "DELTA_BYTE_ARRAY"})
    assert "carrier is encoded as DELTA_BYTE_ARRAY" in refused(PARQUET, made)[1]


@pytest.mark.parametrize("carrier", [{"x": "UA"}, ["UA"], {"x": ["UA"], "y": 1}])
def test_columns_of_lists_and_structs_are_refused(carrier: object) -> None:
    nested = flights(1).set_column(2, "carrier", pa.array([carrier]))
    assert "lists or structs" in refused(PARQUET, as_parquet(nested))[1]
    assert "carrier is " in refused(ARROW_STREAM, as_arrow(nested))[1]


@pytest.mark.parametrize("file", [True, False])
def test_arrow_that_unpacks_to_too_much_is_refused(file: bool) -> None:
    assert "unpacks to more than" in refused(ARROW_STREAM, as_arrow(flights(1_000, "x" * 60_000), file=file))[1]


def test_bodies_that_are_damaged_anywhere_are_refused_or_read() -> None:
    chance = random.Random(7)
    bodies = {PARQUET: as_parquet(flights(20)), ARROW_STREAM: as_arrow(flights(20)), CSV: b"flight_id,scheduled\na,1\n"}
    for kind, body in bodies.items():
        for _ in range(300):
            damaged = bytearray(body)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            cut = bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
            try:
                read(kind, Media(kind), ROWS, FLIGHTS, cut)
            except Problem as problem:
                assert problem.status in (400, 413)  # noqa: PT017


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1" * 3, b"ARROW1\0\0", b"\xff" * 100, b"{}"])
@pytest.mark.parametrize("kind", [PARQUET, ARROW_STREAM])
def test_what_is_no_table_says_so(kind: str, body: bytes) -> None:
    status, why = refused(kind, body)
    assert (status, "the body is no" in why) == (400, True)


def test_heads_of_pages_that_make_no_sense_take_no_memory() -> None:
    chance = random.Random(11)
    tracemalloc.start()
    try:
        for _ in range(2_000):
            body = chance.randbytes(200)
            try:
                list(pages_of(body, 0, len(body)))
            except (ValueError, IndexError):
                continue
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
