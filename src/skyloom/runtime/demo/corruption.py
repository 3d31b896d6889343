"""Rows that break the contract, made on purpose."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from skyloom.kernel.units import DAY


def corrupted(path: Path, now_ms: int) -> Path:
    """A copy of the departures in which seven rows more stand that no contract should let in; its path."""
    good = pq.read_table(path)
    row = good.slice(0, 1).to_pylist()[0]
    future = datetime.fromtimestamp((now_ms + 30 * DAY) / 1000, UTC)
    faults = [
        {"flight_id": None},
        {"flight_id": "X1", "distance_miles": float("nan")},
        {"flight_id": "X2", "distance_miles": float("inf")},
        {"flight_id": "X3", "carrier": None},
        {"flight_id": "X4", "scheduled": future},
        {"flight_id": "X5", "scheduled": datetime(1969, 12, 31, tzinfo=UTC)},
        {},
    ]
    bad = pa.Table.from_pylist([{**row, **fault} for fault in faults], good.schema)
    target = path.with_name("departures-with-faults.parquet")
    pq.write_table(pa.concat_tables([good, bad]), target, compression="zstd")
    return target
