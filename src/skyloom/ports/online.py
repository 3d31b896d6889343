"""The online store: small values by key, written in transactions together with the position they stand for."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol


class OnlineWriter(Protocol):
    """One write transaction: what it reads it reads as of its own writes."""

    def get(self, space: str, key: bytes) -> bytes | None: ...

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]: ...

    def put(self, space: str, key: bytes, value: bytes) -> None: ...

    def put_many(self, space: str, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """`put` of each pair (fastest in the order of their keys)."""
        ...

    def delete(self, space: str, key: bytes) -> None: ...

    def scan(self, space: str, prefix: bytes = b"", start: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        """Pairs whose key begins with ``prefix``, from ``start`` on, in order of keys."""
        ...


class OnlineReader(Protocol):
    """One consistent view: every read of it sees the same moment. Values are copies."""

    def get(self, space: str, key: bytes) -> bytes | None: ...

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]: ...

    def scan(self, space: str, prefix: bytes = b"", start: bytes = b"") -> Iterable[tuple[bytes, bytes]]: ...


class OnlineStore(Protocol):
    """Promises: a transaction is seen whole or not at all, by every process; one writer at a time (others wait);
    readers never wait. A commit survives the death of the process; with ``durable=True`` also that of the machine, unless
    commits without it have followed: then the store may open empty, without the positions as well.
    A *space* is a named set of keys, made on first write. Keys are 1 to 511 bytes. Safe for threads.
    """

    def read(self) -> AbstractContextManager[OnlineReader]: ...

    def write(self, *, durable: bool = True) -> AbstractContextManager[OnlineWriter]:
        """A transaction: committed when the block ends, undone when it raises."""
        ...

    def drop(self, space: str) -> None:
        """Forget a space and everything in it."""
        ...

    def close(self) -> None: ...
