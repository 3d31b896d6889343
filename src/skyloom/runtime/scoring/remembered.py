"""The lake as it was when a run began, whose tables are held in memory as far as they have room there."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from skyloom.features.offline.asof import AsOf
from skyloom.features.offline.history import MEMORY
from skyloom.ports.lake import Lake

_Named = tuple[str, tuple[str, ...] | None]


class Remembered(AsOf):
    """Tables in their ``versions``, each read once and then remembered; what would take more than ``memory`` bytes in all is
    read each time that it is scanned. What is asked for whole (the rows of entity tables) is held in any case."""

    def __init__(self, lake: Lake, versions: Mapping[str, int | None], memory: int = MEMORY) -> None:
        super().__init__(lake, versions)
        self._left = memory
        self._tables: dict[_Named, pa.Table] = {}
        self._too_large: dict[_Named, int] = {}

    @property
    def rows(self) -> int:
        """How many rows the largest table has of those that were read."""
        return max([len(table) for table in self._tables.values()] + list(self._too_large.values()), default=0)

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> pa.Table:
        """The rows of the kept version."""
        if version is not None or where is not None:
            return super().read(table, columns=columns, version=version, where=where)
        named = table, None if columns is None else tuple(columns)
        if named not in self._tables:
            self._tables[named] = super().read(table, columns=columns)
            self._left -= self._tables[named].nbytes
        return self._tables[named]

    def scan(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the kept version, batch by batch."""
        named = table, None if columns is None else tuple(columns)
        if named in self._tables and version is None and where is None:
            yield from self._tables[named].to_batches()
            return
        batches = super().scan(table, columns=columns, version=version, where=where)
        if version is None and where is None and named not in self._too_large:
            batches = self._keeping(named, batches)
        yield from batches

    def _keeping(self, named: _Named, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, remembered once the last one came, if there was room for all of them."""
        held: list[pa.RecordBatch] = []
        size = rows = 0
        for batch in batches:
            size, rows = size + batch.nbytes, rows + batch.num_rows
            if size <= self._left:
                held.append(batch)
            else:
                held.clear()
            yield batch
        if size > self._left:
            self._too_large[named] = rows
        elif held:
            self._left -= size
            self._tables[named] = pa.Table.from_batches(held)
