"""The lake: versioned tables of Arrow rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # processes that touch no table stay small
    import pyarrow as pa


class Lake(Protocol):
    """Promises: an append is seen whole or not at all; versions of a table count up from 0 and never change; a version
    that was returned can be read for as long as nobody vacuums. Appends of one ``app`` are idempotent: a second append
    with a ``position`` that is not greater than the last one of that app writes nothing. Several processes may append.
    Raises `NotFound` for a table or version that is not there, `Transient` when the store cannot be written now.
    Table names are slash-separated words, such as ``events/arrivals``.
    """

    def append(
        self,
        table: str,
        rows: pa.Table,
        *,
        app: str | None = None,
        position: int | None = None,
        after: int | None = None,
    ) -> int:
        """Add rows (making the table from their schema when it is new); the table's version afterwards.

        With ``after``, `Conflict` when the last append of ``app`` was at another position (0 before the first one) and
        below ``position``: somebody else has appended since.
        """
        ...

    def overwrite(self, table: str, rows: pa.Table, *, note: Mapping[str, str] | None = None) -> int:
        """Replace all rows in a new version, which keeps ``note``; the version."""
        ...

    def note(self, table: str, version: int) -> dict[str, str]:
        """What was noted of a version when it was written."""
        ...

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> pa.Table:
        """The rows of a version (the newest by default). ``where`` holds conditions ``(column, op, value)``, all of
        which must hold, with the operators ``= != < <= > >= in``."""
        ...

    def scan(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """What `read` gives, batch by batch: a table larger than the memory can be read."""
        ...

    def version(self, table: str) -> int | None:
        """The newest version, or ``None`` when there is no such table."""
        ...

    def position(self, table: str, app: str) -> int | None:
        """The position of the last append of ``app``, or ``None``."""
        ...

    def tables(self) -> list[str]:
        """The names of all tables, sorted."""
        ...
