"""Events on the disk, parted by entity: what does not fit into memory is joined one part after the other."""

import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from skyloom.features.algebra.program import Int64s
from skyloom.features.entities import NOBODY
from skyloom.kernel.entity import entity_key
from skyloom.kernel.errors import Transient

_BLOCK = 2**18
"""Rows that are parted together: what one part gets of them is written as one batch."""


def part_of(columns: Sequence[pa.ChunkedArray], parts: int) -> Int64s:
    """The part of each row, shape [n], by a hash of its entity; `NOBODY` where a column is null.

    >>> part_of([pa.chunked_array([["UA", None, "UA"]])], 1).tolist()
    [0, -1, 0]
    """
    hashed = np.zeros(len(columns[0]), np.uint64)
    somebody = np.ones(len(columns[0]), np.bool_)
    for column in columns:
        encoded = column.combine_chunks().dictionary_encode()
        keys = np.array([crc32(entity_key(value)) for value in encoded.dictionary.to_pylist()] or [0], np.uint64)
        codes = encoded.indices.cast(pa.int64()).fill_null(NOBODY).to_numpy(zero_copy_only=False)
        hashed = hashed * np.uint64(2_654_435_761) + keys[codes]
        somebody &= codes != NOBODY
    return np.where(somebody, (hashed % np.uint64(parts)).astype(np.int64), NOBODY)


class Spill:
    """Rows of ``schema`` parted by the entity in the columns ``by``, in temporary files that go when the block ends.

    First every row is added, then parts are read. Rows without an entity are left out; within a part rows stay in the order
    in which they came. Raises `Transient` when the disk is full.
    """

    def __init__(self, schema: pa.Schema, by: Sequence[str], parts: int) -> None:
        self.schema, self.by, self.parts = schema, tuple(by), parts
        self._folder = tempfile.TemporaryDirectory(prefix="skyloom-join-")
        self._writers: list[Any] = []
        for part in range(parts):
            with self._writable():
                self._writers.append(pa.ipc.new_file(self._path(part), schema))

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def add(self, block: pa.Table) -> None:
        """Part the rows of a block."""
        part = part_of([block.column(name) for name in self.by], self.parts)
        order = np.argsort(part, kind="stable")
        edges = np.searchsorted(part[order], np.arange(self.parts + 1))
        rows = block.take(pa.array(order))
        for index, writer in enumerate(self._writers):
            if edges[index] < edges[index + 1]:
                with self._writable():
                    writer.write_table(rows.slice(edges[index], edges[index + 1] - edges[index]).combine_chunks())

    def close(self) -> None:
        """Every row is there."""
        for writer in self._writers:
            with self._writable():
                writer.close()

    def read(self, part: int) -> pa.Table:
        """The rows of a part, mapped from its file."""
        with pa.memory_map(self._path(part)) as file:
            return pa.ipc.open_file(file).read_all()

    def _path(self, part: int) -> str:
        return str(Path(self._folder.name) / f"{part}.arrow")

    @contextmanager
    def _writable(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise Transient(
                f"events cannot be set aside on the disk: {error}",
                tried=self._folder.name,
                fix="free some space there, or let TMPDIR name a larger folder",
            ) from error


def blocks(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of many batches in blocks of a size that is worth parting."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += len(batch)
        if rows >= _BLOCK:
            yield pa.Table.from_batches(held, schema)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held, schema)
