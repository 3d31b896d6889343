"""Metadata in memory, so that the rules of governance are judged apart from any store."""

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from skyloom.kernel.errors import Conflict
from skyloom.ports.metadata import Change, Document


class MemoryMetadata:
    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], Document] = {}
        self.log: list[Change] = []
        self.broken: int | None = None

    def get(self, kind: str, id: str) -> Document | None:
        return self.documents.get((kind, id))

    def list(self, kind: str, prefix: str = "") -> Sequence[Document]:
        return [doc for (its, id), doc in sorted(self.documents.items()) if its == kind and id.startswith(prefix)]

    @contextlib.contextmanager
    def transaction(self, actor: str) -> Iterator["MemoryTransaction"]:
        before = dict(self.documents), list(self.log)
        try:
            yield MemoryTransaction(self, actor)
        except BaseException:
            self.documents, self.log = before
            raise

    def changes(self, kind: str | None = None, id: str | None = None) -> Sequence[Change]:
        return [line for line in self.log if kind in (None, line.kind) and id in (None, line.id)]

    def verify(self) -> int | None:
        return self.broken

    def close(self) -> None:
        self.documents.clear()


class MemoryTransaction:
    def __init__(self, store: MemoryMetadata, actor: str) -> None:
        self.store, self.actor = store, actor
        self.get, self.list = store.get, store.list

    def put(self, kind: str, id: str, body: bytes, *, action: str, expect: int | None = None) -> Document:
        present = self.get(kind, id)
        version = present.version if present else 0
        if expect is not None and expect != version:
            raise Conflict(f"{kind} {id} is at version {version}")
        document = Document(kind, id, version + 1, body)
        self.store.documents[kind, id] = document
        self._note(action, kind, id, version + 1, body)
        return document

    def delete(self, kind: str, id: str, *, action: str) -> None:
        gone = self.store.documents.pop((kind, id))
        self._note(action, kind, id, gone.version, None)

    def _note(self, action: str, kind: str, id: str, version: int, body: bytes | None) -> None:
        number = len(self.store.log) + 1
        self.store.log.append(
            Change(number, 1_364_788_800_000, self.actor, action, kind, id, version, body, f"link{number}")
        )


@pytest.fixture
def metadata() -> MemoryMetadata:
    return MemoryMetadata()
