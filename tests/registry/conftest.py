"""An in-memory metadata store that keeps the port's promises for one thread."""

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from skyloom.kernel.errors import Conflict
from skyloom.ports import Change, Document


class MemoryMetadata:
    """Documents in a dictionary; a transaction works on a copy, which a raise throws away."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], Document] = {}
        self.log: list[Change] = []

    def get(self, kind: str, id: str) -> Document | None:
        return self.documents.get((kind, id))

    def list(self, kind: str, prefix: str = "") -> Sequence[Document]:
        found = [document for (k, i), document in self.documents.items() if k == kind and i.startswith(prefix)]
        return sorted(found, key=lambda document: document.id)

    @contextlib.contextmanager
    def transaction(self, actor: str) -> Iterator["MemoryMetadata"]:
        inner = MemoryMetadata()
        inner.documents, inner.log, inner.actor = dict(self.documents), list(self.log), actor
        yield inner
        self.documents, self.log = inner.documents, inner.log

    def put(self, kind: str, id: str, body: bytes, *, action: str, expect: int | None = None) -> Document:
        version = self.documents[kind, id].version if (kind, id) in self.documents else 0
        if expect is not None and expect != version:
            raise Conflict(f"{kind} {id} is at {version}, not {expect}")
        document = Document(kind, id, version + 1, body)
        self.documents[kind, id] = document
        self.log.append(Change(len(self.log), 0, self.actor, action, kind, id, document.version, body, ""))
        return document

    def delete(self, kind: str, id: str, *, action: str) -> None:
        del self.documents[kind, id]

    def changes(self, kind: str | None = None, id: str | None = None) -> Sequence[Change]:
        return [change for change in self.log if kind in (None, change.kind) and id in (None, change.id)]

    def verify(self) -> int | None:
        return None

    def close(self) -> None:
        return None


@pytest.fixture
def metadata() -> MemoryMetadata:
    return MemoryMetadata()
