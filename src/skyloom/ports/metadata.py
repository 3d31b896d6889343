"""Metadata: small documents with versions, each change recorded with who made it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec


class Document(msgspec.Struct, frozen=True):
    """A stored record: ``body`` is its JSON, ``version`` counts its changes from 1."""

    kind: str
    id: str
    version: int
    body: bytes


class Change(msgspec.Struct, frozen=True):
    """One line of the audit log, chained: ``link`` is the SHA-256 of the previous link and of this line's content."""

    number: int
    at_ms: int
    actor: str
    action: str
    kind: str
    id: str
    version: int
    body: bytes | None
    link: str


class Transaction(Protocol):
    """Reads see this transaction's own writes."""

    def get(self, kind: str, id: str) -> Document | None: ...

    def list(self, kind: str, prefix: str = "") -> Sequence[Document]: ...

    def put(self, kind: str, id: str, body: bytes, *, action: str, expect: int | None = None) -> Document:
        """Store ``body``. ``expect`` is the version that must be there now (0: none); another raises `Conflict`."""
        ...

    def delete(self, kind: str, id: str, *, action: str) -> None:
        """Remove a document; raises `NotFound` when it is not there. One that comes back takes no version twice."""
        ...


class Metadata(Protocol):
    """Promises: transactions are serialisable, also between processes; a commit survives the death of the machine;
    each change and its audit line are in one transaction. Lists are sorted by id. Safe for threads.
    Raises `Transient` when the store is busy for more than ten seconds or cannot be written (a full disk).
    """

    def get(self, kind: str, id: str) -> Document | None: ...

    def list(self, kind: str, prefix: str = "") -> Sequence[Document]: ...

    def transaction(self, actor: str) -> AbstractContextManager[Transaction]:
        """Committed when the block ends, undone when it raises."""
        ...

    def changes(self, kind: str | None = None, id: str | None = None) -> Sequence[Change]:
        """The audit log, oldest first."""
        ...

    def verify(self) -> int | None:
        """The number of the first line of the audit log whose chain does not hold, or ``None`` when all hold."""
        ...

    def close(self) -> None: ...
