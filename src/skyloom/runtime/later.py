"""Objects whose store is opened when they are first asked for, and tried again when that failed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from skyloom.ports import Objects


class LaterObjects:
    """Objects that ``store`` opens. What it raises (`Transient`, mostly) is raised by the call that needed it.

    >>> from skyloom.kernel.errors import Transient
    >>> def store() -> Objects:
    ...     raise Transient("nobody answers")
    >>> later = LaterObjects(store)
    >>> later.pointer("release")
    Traceback (most recent call last):
        ...
    skyloom.kernel.errors.Transient: nobody answers
    """

    def __init__(self, store: Callable[[], Objects]) -> None:
        self._store = store

    def put(self, content: bytes) -> str:
        return self._store().put(content)

    def get(self, digest: str) -> bytes:
        return self._store().get(digest)

    def has(self, digest: str) -> bool:
        return self._store().has(digest)

    def pointer(self, name: str) -> bytes | None:
        return self._store().pointer(name)

    def move(self, name: str, content: bytes, *, expect: bytes | None) -> None:
        self._store().move(name, content, expect=expect)


if TYPE_CHECKING:
    _objects: Objects = LaterObjects(lambda: _objects)
