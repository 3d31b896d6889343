"""Objects: immutable bytes under the digest of their content, and named pointers that move by compare-and-swap."""

from typing import Protocol


class ObjectReader(Protocol):
    """The part of `Objects` that reads: all that a package needs to be loaded."""

    def get(self, digest: str) -> bytes: ...


class Objects(Protocol):
    """Promises: what `put` returned can be got by anyone, unchanged, after the death of the machine; `get` checks the
    digest of what it returns; a pointer is moved whole, and by one of several that try at once. Safe for threads.
    Raises `NotFound`, `DataError` (bytes that do not match their digest), `Conflict` (a lost race) and `Transient`.
    """

    def put(self, content: bytes) -> str:
        """Store bytes; their SHA-256 in hexadecimal. Storing the same bytes again changes nothing."""
        ...

    def get(self, digest: str) -> bytes: ...

    def has(self, digest: str) -> bool: ...

    def pointer(self, name: str) -> bytes | None:
        """The bytes that a pointer holds now, or ``None``."""
        ...

    def move(self, name: str, content: bytes, *, expect: bytes | None) -> None:
        """Let a pointer hold ``content``, if it holds ``expect`` now (``None``: nothing)."""
        ...
