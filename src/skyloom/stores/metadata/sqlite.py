"""Metadata in one SQLite file: write-ahead log, synced at every commit, one writer at a time.

By apsw, which carries its own SQLite: versions before 3.51.3, such as the one inside many Pythons, can damage a
write-ahead log that several processes reset at once.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from skyloom.kernel.clock import Clock, SystemClock
from skyloom.kernel.errors import UsageError
from skyloom.ports.metadata import Change, Document, Metadata, Transaction
from skyloom.stores.metadata.audit import CHANGE_COLUMNS, record, verify
from skyloom.stores.metadata.connections import Connections, translated
from skyloom.stores.metadata.transaction import SqliteTransaction, select_all, select_one

if TYPE_CHECKING:
    import apsw


class SqliteMetadata:
    """Documents and their audit log in the file ``path``, made when it is new (mode 0600).

    Use it after a fork as before. Raises `Transient` (busy for more than ten seconds, or no room: nothing was written)
    and `DataError` (damage). `verify` finds lines that were edited, removed, added or put in another order, and a log
    cut at its end, by the length and link kept beside it. It does not find a file that was replaced as a whole by an
    older one, nor one whose every link was computed anew: for that, keep the last link somewhere else.

    >>> import tempfile
    >>> metadata = SqliteMetadata(Path(tempfile.mkdtemp()) / "metadata.db")
    >>> with metadata.transaction("ada") as transaction:
    ...     document = transaction.put("alias", "late/champion", b'{"version":1}', action="promote", expect=0)
    >>> metadata.get("alias", "late/champion").version, metadata.changes()[0].actor, metadata.verify()
    (1, 'ada', None)
    >>> metadata.close()
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._connections = Connections(path)
        self._clock = clock or SystemClock()

    def get(self, kind: str, id: str) -> Document | None:
        """The document of that name now."""
        with self._reading() as connection:
            return select_one(connection, kind, id)

    def list(self, kind: str, prefix: str = "") -> Sequence[Document]:
        """The documents of a kind whose id begins with ``prefix``, by id."""
        with self._reading() as connection:
            return select_all(connection, kind, prefix)

    @contextmanager
    def _reading(self) -> "Generator[apsw.Connection]":
        with translated(self._connections.path):
            yield self._connections.mine()

    @contextmanager
    def transaction(self, actor: str) -> Generator[Transaction]:
        """Committed when the block ends, undone when it raises. One at a time: others wait for ten seconds at most.

        Raises `UsageError` for a transaction inside another of the same thread.
        """
        connection = self._connections.mine()
        if connection.in_transaction:
            raise UsageError("a transaction inside another of the same thread", fix="end the outer one first")
        with translated(self._connections.path):
            connection.execute("BEGIN IMMEDIATE")
            transaction = SqliteTransaction(connection, actor, self._clock.now_ms())
            try:
                yield transaction
                connection.execute("COMMIT")
            finally:
                transaction.over()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def changes(self, kind: str | None = None, id: str | None = None) -> Sequence[Change]:
        """The audit log, or what it says of a kind or of a document; oldest first."""
        given = {name: value for name, value in (("kind", kind), ("id", id)) if value is not None}
        where = " AND ".join(f"{name} = :{name}" for name in given)
        query = f"SELECT {CHANGE_COLUMNS} FROM change {'WHERE ' + where if where else ''} ORDER BY number"
        with self._reading() as connection:
            return [record(row) for row in connection.execute(query, given)]

    def verify(self) -> int | None:
        """The number of the first line of the audit log that does not hold, or ``None``."""
        with self._reading() as connection, connection:
            return verify(connection)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._connections.close()


if TYPE_CHECKING:
    _metadata: Metadata = SqliteMetadata(Path())
