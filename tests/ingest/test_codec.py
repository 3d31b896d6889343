"""What is put into the log comes out of it: rows and tables mixed, with where and when they came."""

from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.ingest.codec import decode, encode_table, event_schema
from skyloom.ingest.rows import encode_rows
from skyloom.kernel.columns import arrow_schema
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.ports.log import LogBatch

SCHEMA = Schema(
    (
        Field("id", Type.STRING),
        Field("at", Type.TIMESTAMP),
        *(Field(f"some_{kind}", kind) for kind in (Type.FLOAT, Type.INT, Type.BOOL)),
        *(Field(f"maybe_{kind}", kind, nullable=True) for kind in Type),
    ),
    "id",
    "at",
)
_int = st.integers(-(2**63), 2**63 - 1)
_values: dict[Type, st.SearchStrategy[Any]] = {
    Type.STRING: st.text(),
    Type.FLOAT: st.floats(allow_nan=False),
    Type.INT: _int,
    Type.BOOL: st.booleans(),
    Type.TIMESTAMP: _int,
}
_rows = st.tuples(*(_values[f.type] | st.none() if f.nullable else _values[f.type] for f in SCHEMA.fields))


class Written(NamedTuple):
    rows: list[tuple[Any, ...]]
    as_table: bool
    appended: int
    imported: bool


_written = st.builds(Written, st.lists(_rows, min_size=1, max_size=4), st.booleans(), st.integers(0, 2**42), st.booleans())


def table_of(rows: list[tuple[Any, ...]]) -> pa.Table:
    schema = arrow_schema(SCHEMA)
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema)


def log_of(written: list[Written], first: int) -> list[LogBatch]:
    batches = []
    for batch in written:
        payload = encode_table(table_of(batch.rows)) if batch.as_table else encode_rows(batch.rows)
        batches.append(LogBatch(first, len(batch.rows), batch.appended, batch.imported, payload))
        first += len(batch.rows)
    return batches


def cells(table: pa.Table) -> list[list[Any]]:
    """Columns as plain values; times as integers."""
    plain = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    return [column.to_pylist() for column in plain]


@settings(max_examples=150, deadline=None)
@given(st.lists(_written, max_size=5), st.integers(0, 2**40))
def test_every_value_and_where_it_stands_comes_back(written: list[Written], first: int) -> None:
    table = decode(log_of(written, first), SCHEMA)
    table.validate(full=True)
    assert table.schema == event_schema(SCHEMA)
    rows = [row for batch in written for row in batch.rows]
    expected = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in SCHEMA.fields]
    *columns, offsets, appended, imported = cells(table)
    assert columns == expected
    assert offsets == list(range(first, first + len(rows)))
    assert appended == [batch.appended for batch in written for _ in batch.rows]
    assert imported == [batch.imported for batch in written for _ in batch.rows]


def test_slices_of_a_table_are_written_alone() -> None:
    rows = [(f"k{i}", i, 0.5, i, True, *[None] * 5) for i in range(5_000)]
    payload = encode_table(table_of(rows).slice(4_990, 5))
    assert len(payload) < 10_000
    assert decode([LogBatch(0, 5, 0, True, payload)], SCHEMA).column("id").to_pylist() == [
        f"k{i}" for i in range(4_990, 4_995)
    ]


def test_a_batch_whose_count_is_not_its_rows_is_an_error() -> None:
    row = ("k", 0, 0.5, 0, True, *[None] * 5)
    with pytest.raises(pa.ArrowInvalid):
        decode([LogBatch(0, 2, 0, False, encode_rows([row]))], SCHEMA)
