"""What happens inside one transaction on SQLite."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from skyloom.kernel.errors import Conflict, NotFound, UsageError
from skyloom.ports.metadata import Document
from skyloom.stores.metadata.audit import add

if TYPE_CHECKING:
    import apsw


class SqliteTransaction:
    """Reads and writes of one ``with`` block. Of no use after it."""

    def __init__(self, connection: "apsw.Connection", actor: str, at_ms: int) -> None:
        self._open: apsw.Connection | None = connection
        self._actor = actor
        self._at_ms = at_ms

    def over(self) -> None:
        """The block has ended."""
        self._open = None

    @property
    def _connection(self) -> "apsw.Connection":
        if self._open is None:
            raise UsageError("this transaction is over", fix="use it inside its with block")
        return self._open

    def get(self, kind: str, id: str) -> Document | None:
        """The document of that name, with this transaction's writes."""
        return select_one(self._connection, kind, id)

    def list(self, kind: str, prefix: str = "") -> Sequence[Document]:
        """The documents of a kind whose id begins with ``prefix``, by id."""
        return select_all(self._connection, kind, prefix)

    def put(self, kind: str, id: str, body: bytes, *, action: str, expect: int | None = None) -> Document:
        """Store ``body`` as the next version. Raises `Conflict` when ``expect`` is not the version that is there."""
        current = self.get(kind, id)
        found = current.version if current else 0
        if expect not in (None, found):
            there = f"version {found}" if found else "nothing"
            raise Conflict(
                f"{kind} {id} was changed by somebody else: {there} is there, not version {expect}",
                fix="read it again, then decide again",
            )
        document = Document(kind, id, self._last_version(kind, id) + 1, body)
        self._connection.execute(
            "INSERT INTO document (kind, id, version, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, body = excluded.body",
            (kind, id, document.version, body),
        )
        self._note(document.version, kind, id, action, body)
        return document

    def delete(self, kind: str, id: str, *, action: str) -> None:
        """Remove a document. Raises `NotFound` when it is not there."""
        current = self.get(kind, id)
        if current is None:
            raise NotFound(f"there is no {kind} {id}")
        self._connection.execute("DELETE FROM document WHERE kind = ? AND id = ?", (kind, id))
        self._note(current.version + 1, kind, id, action, None)

    def _last_version(self, kind: str, id: str) -> int:
        # From the audit log: a document that comes back after its removal counts on, so that no version comes twice.
        rows = self._connection.execute("SELECT max(version) FROM change WHERE kind = ? AND id = ?", (kind, id))
        return next(iter(rows))[0] or 0

    def _note(self, version: int, kind: str, id: str, action: str, body: bytes | None) -> None:
        add(self._connection, (self._at_ms, self._actor, action, kind, id, version, body))


def select_one(connection: "apsw.Connection", kind: str, id: str) -> Document | None:
    """The document of that name, or ``None``."""
    rows = connection.execute("SELECT version, body FROM document WHERE kind = ? AND id = ?", (kind, id))
    return next((Document(kind, id, version, body) for version, body in rows), None)


def select_all(connection: "apsw.Connection", kind: str, prefix: str) -> list[Document]:
    """The documents of a kind whose id begins with ``prefix``, by id."""
    return list(_from(connection, kind, prefix))


def _from(connection: "apsw.Connection", kind: str, prefix: str) -> Iterator[Document]:
    query = "SELECT id, version, body FROM document WHERE kind = ? AND id >= ? ORDER BY id"
    for id, version, body in connection.execute(query, (kind, prefix)):
        if not id.startswith(prefix):
            return
        yield Document(kind, id, version, body)
