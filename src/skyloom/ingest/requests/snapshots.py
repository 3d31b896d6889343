"""Requests from a table that keeps its versions, such as one of Delta."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import pyarrow as pa

from skyloom.ingest.contract import require_columns
from skyloom.ingest.requests.batch import RequestBatch, RequestSource, of_columns
from skyloom.ingest.texts import regrouped
from skyloom.kernel.records.definitions import SourceDef


class Snapshot(Protocol):
    """One version of a table. Raises `DataError` where it cannot be read."""

    @property
    def name(self) -> str:
        """Where it is."""
        ...

    def open(self, identity: str | None) -> str:
        """Take the newest version, or the one of an ``identity``; the identity of that. Raises `DataError` when the table
        is another or no longer holds that version."""
        ...

    def names(self) -> list[str]:
        """The names of all columns."""
        ...

    def count(self) -> int:
        """How many rows it has."""
        ...

    def read(self, columns: Sequence[str], done: int) -> Iterator[pa.Table]:
        """Some columns of all rows but the first ``done``, in an order that stays."""
        ...


class SnapshotRequests:
    """The rows of a version, which is the newest when it is bound for the first time."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @property
    def name(self) -> str:
        """Where the table is."""
        return self._snapshot.name

    def bind(self, identity: str | None = None) -> str:
        """Takes a version; what comes into the table afterwards is not read."""
        return self._snapshot.open(identity)

    def count(self) -> int:
        """How many rows the version has."""
        return self._snapshot.count()

    def read(self, source: SourceDef, most: int, done: int = 0, mark: str = "") -> Iterator[RequestBatch]:
        """The rows, file by file in the order in which they came into the table."""
        require_columns(self._snapshot.names(), source, self.name)
        for table in regrouped(self._snapshot.read(source.schema.names, done), most):
            yield of_columns(table, source, self.name)

    def close(self) -> None:
        """Nothing is held."""


if TYPE_CHECKING:
    _source: RequestSource = SnapshotRequests(cast("Snapshot", None))
