"""Events that came too late for everything: kept apart in the lake, with the reason, and counted."""

from typing import Any

import msgspec
import pyarrow as pa

from skyloom.kernel.records.definitions import SourceDef
from skyloom.ports.lake import Lake

DEAD_LETTER = pa.schema(
    [
        pa.field("reason", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
        pa.field("_offset", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)
"""The columns of a dead-letter table: why, the row itself as JSON, its offset in the log, when it came."""


def dead_letter_table(source: str) -> str:
    """The lake table of a source's dead letters."""
    return f"deadletter/{source}"


def dead_letters(events: pa.Table, source: SourceDef) -> pa.Table:
    """Decoded events as dead letters."""
    reason = f"{source.schema.time}: older than everything kept"
    rows = [msgspec.json.encode(row, enc_hook=str).decode() for row in events.select(list(source.schema.names)).to_pylist()]
    columns: list[Any] = [
        pa.array([reason] * len(rows), pa.string()),
        pa.array(rows, pa.string()),
        events.column("_offset"),
        events.column("_appended"),
    ]
    return pa.table(columns, schema=DEAD_LETTER)


def count_dead(lake: Lake, source: str) -> int:
    """How many dead letters a source has."""
    table = dead_letter_table(source)
    return 0 if lake.version(table) is None else len(lake.read(table, columns=["_offset"]))
