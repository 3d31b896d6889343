"""Rows as they lie in the log: MessagePack for the rows of a stream, Arrow for the tables of an import."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skyloom.ingest.rows import ROWS, Value
from skyloom.kernel.columns import arrow_schema
from skyloom.kernel.schema import Schema
from skyloom.ports.log import LogBatch

_ARROW = b"A"
_ROWS = msgspec.msgpack.Decoder(list[tuple[Value, ...]])

EVENT_COLUMNS = (
    pa.field("_offset", pa.int64(), nullable=False),
    pa.field("_appended", pa.timestamp("ms", tz="UTC"), nullable=False),
    pa.field("_imported", pa.bool_(), nullable=False),
)
"""What the lake keeps of every event beside its own columns: where it stands in the log, when it came, and how."""


def encode_table(table: pa.Table) -> bytes:
    """A table of events in the schema's columns."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return _ARROW + sink.getvalue().to_pybytes()


def event_schema(schema: Schema) -> pa.Schema:
    """The Arrow schema of events in the lake: the declared columns and `EVENT_COLUMNS`."""
    return pa.schema([*arrow_schema(schema), *EVENT_COLUMNS])


def decode(batches: Sequence[LogBatch], schema: Schema, partition: int = 0, partitions: int = 1) -> pa.Table:
    """The events of consecutive batches of a partition, in order, in the columns of `event_schema`; ``_offset`` is the
    offset in the source (`skyloom.ingest.partitions`)."""
    target = arrow_schema(schema)
    tables: list[pa.Table] = []
    columns: list[list[Value]] = [[] for _ in target]
    for batch in batches:
        if batch.payload[:1] == ROWS:
            # turned batch by batch: rows that live on are walked by the garbage collector again and again
            rows = _ROWS.decode(memoryview(batch.payload)[1:])
            for column, values in zip(columns, zip(*rows, strict=True), strict=True):
                column.extend(values)
            continue
        tables += _table(columns, target)
        columns = [[] for _ in target]
        tables.append(pa.ipc.open_stream(memoryview(batch.payload)[1:]).read_all().cast(target))
    tables += _table(columns, target)
    rows = pa.concat_tables(tables) if tables else target.empty_table()
    offsets = np.concatenate(
        [np.arange(batch.first, batch.first + batch.count) for batch in batches] or [np.zeros(0, np.int64)]
    )
    return _with_event_columns(rows, batches, offsets * partitions + partition)


def _table(columns: list[list[Value]], target: pa.Schema) -> list[pa.Table]:
    if not columns[0]:
        return []
    return [pa.table([pa.array(column, field.type) for column, field in zip(columns, target, strict=True)], target)]


def _with_event_columns(table: pa.Table, batches: Sequence[LogBatch], offsets: npt.NDArray[np.int64]) -> pa.Table:
    counts = [batch.count for batch in batches]
    appended = np.repeat([batch.appended_ms for batch in batches], counts).astype(np.int64)
    imported = np.repeat([batch.imported for batch in batches], counts).astype(np.bool_)
    columns = [offsets, pa.array(appended).cast(EVENT_COLUMNS[1].type), imported]
    for field, column in zip(EVENT_COLUMNS, columns, strict=True):
        table = table.append_column(field, [pa.array(column, field.type)])
    return table
