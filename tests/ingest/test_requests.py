"""Requests from files: behind any row, in batches of any size, in memory that does not grow."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.ingest.requests import FileRequests
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type

SCHEMA = Schema((Field("id", Type.INT), Field("at", Type.TIMESTAMP), Field("x", Type.FLOAT)), "id", "at")
SOURCE = SourceDef("asked", SCHEMA)


def table(count: int, first: int = 0) -> pa.Table:
    ids = np.arange(first, first + count)
    return pa.table({"x": ids / 3, "id": ids, "at": pa.array(ids, pa.timestamp("ms", tz="UTC"))})


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    group=st.integers(1, 15),
    most=st.integers(1, 50),
    done=st.integers(0, 170),
)
@settings(max_examples=60, deadline=None)
def test_what_is_left_comes_in_order(sizes: list[int], group: int, most: int, done: int) -> None:
    total = sum(sizes)
    done = min(done, total)
    with tempfile.TemporaryDirectory() as name:
        first = 0
        for number, size in enumerate(sizes):
            pq.write_table(table(size, first), f"{name}/{number}.parquet", row_group_size=group)
            first += size
        requests = FileRequests(Path(name))
        assert requests.bind(requests.bind()) == requests.bind()
        assert requests.count() == total
        batches = list(requests.read(SOURCE, most, done))
    assert [id for batch in batches for id in batch.rows.column("id").to_pylist()] == list(range(done, total))
    assert all(0 < len(batch.rows) == len(batch.faults) <= most for batch in batches)
    assert all(batch.rows.column_names == list(SCHEMA.names) for batch in batches)


def test_a_long_file_is_read_in_the_memory_of_a_short_one(tmp_path: Path) -> None:
    held = list[int]()
    with pq.ParquetWriter(tmp_path / "long.parquet", table(0).schema) as writer:
        for first in range(0, 40 * 65_536, 65_536):
            writer.write_table(table(65_536, first))
    before, rows = pa.total_allocated_bytes(), 0
    for batch in FileRequests(tmp_path / "long.parquet").read(SOURCE, 65_536):
        rows += len(batch.rows)
        held.append(pa.total_allocated_bytes() - before)
    assert rows == 40 * 65_536
    assert max(held) < (tmp_path / "long.parquet").stat().st_size / 3
