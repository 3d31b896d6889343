"""Receipts of predictions, as they lie in the log and in the lake."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from skyloom.kernel.records.prediction import Receipt
from skyloom.ports.log import LogBatch

_MOMENT = pa.timestamp("ms", tz="UTC")

RECEIPTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("release", pa.string(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("at_ms", _MOMENT, nullable=False),
        pa.field("logged_ms", _MOMENT, nullable=False),
        pa.field("inputs", pa.string(), nullable=False),
        pa.field("as_of", pa.string(), nullable=False),
        pa.field("request", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("latency_ms", pa.float64(), nullable=False),
        pa.field("error", pa.string()),
    ]
)
"""A receipt in the lake; ``inputs``, ``as_of`` and ``request`` are JSON, whose numbers read back to the same bits."""

_JSON = {"inputs", "as_of", "request"}
_MOMENTS = {"at_ms", "logged_ms"}
_DECODER = msgspec.msgpack.Decoder(list[Receipt])


def decode_receipts(batches: Sequence[LogBatch]) -> list[Receipt]:
    """The receipts of batches, in order."""
    return [receipt for batch in batches for receipt in _DECODER.decode(batch.payload)]


def receipts_table(receipts: Sequence[Receipt]) -> pa.Table:
    """Receipts as rows of `RECEIPTS`."""
    columns = [
        pa.array([_cell(getattr(receipt, field.name), field.name) for receipt in receipts], field.type) for field in RECEIPTS
    ]
    return pa.table(columns, RECEIPTS)


def _cell(value: Any, name: str) -> Any:
    return msgspec.json.encode(value).decode() if name in _JSON else value


def receipts_from(table: pa.Table) -> list[Receipt]:
    """The receipts of rows of `RECEIPTS`."""
    return [msgspec.convert({name: _value(name, cell) for name, cell in row.items()}, Receipt) for row in _rows(table)]


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    for name in _MOMENTS:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table.column(name).cast(pa.int64()))
    return table.select(RECEIPTS.names).to_pylist()


def _value(name: str, cell: Any) -> Any:
    return msgspec.json.decode(cell) if name in _JSON else cell
