"""A lake as it was at one moment: each of some tables in the version that it had then."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from skyloom.ports.lake import Lake


class AsOf:
    """Another lake, of which the tables in ``versions`` are read in that version (``None``: there is no such table yet).

    What is written goes through.
    """

    def __init__(self, lake: Lake, versions: Mapping[str, int | None]) -> None:
        self._lake, self._versions = lake, versions
        self.append, self.overwrite, self.note = lake.append, lake.overwrite, lake.note
        self.position, self.tables = lake.position, lake.tables

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> pa.Table:
        """The rows of a version, by default of the kept one."""
        return self._lake.read(table, columns=columns, version=self._version(table, version), where=where)

    def scan(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a version batch by batch, by default of the kept one."""
        return self._lake.scan(table, columns=columns, version=self._version(table, version), where=where)

    def version(self, table: str) -> int | None:
        """The kept version of a table; the newest of one that is not kept."""
        return self._versions[table] if table in self._versions else self._lake.version(table)

    def _version(self, table: str, version: int | None) -> int | None:
        return self._versions.get(table) if version is None else version
