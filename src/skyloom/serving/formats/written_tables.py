"""Answers that are tables."""

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from skyloom.serving.formats.media import ARROW_FILE, PARQUET

_TYPES = {"score": pa.float64(), "label": pa.bool_(), "receipt": pa.string(), "version": pa.int64()}


def table_bytes(columns: Mapping[str, list[Any]], kind: str) -> bytes:
    """Columns of answers as Parquet, as an Arrow file or as a stream."""
    table = table_of(columns)
    sink = io.BytesIO()
    if kind == PARQUET:
        from pyarrow import parquet

        parquet.write_table(table, sink)
        return sink.getvalue()
    with pa.ipc.new_file(sink, table.schema) if kind == ARROW_FILE else pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def table_of(columns: Mapping[str, list[Any]]) -> Any:
    """Columns of answers as a table of Arrow."""
    return pa.table({name: pa.array(values, _TYPES[name]) for name, values in columns.items()})


def stream_writer(sink: io.BytesIO, schema: Any) -> Any:
    """What writes tables of a schema to a sink, as one stream."""
    return pa.ipc.new_stream(sink, schema)
