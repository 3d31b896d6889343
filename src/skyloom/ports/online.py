"""The online store: small values by key, written in transactions together with the position they stand for."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

Pair = tuple[str, bytes]
"""A space and a key in it."""


class OnlineReader(Protocol):
    """A view of what is committed. Values are copies.

    One call sees one moment: a transaction is in it whole or not at all, whatever spaces it touched. Later calls of a view
    never see an earlier moment; whether they see a later one says `OnlineStore.steady`.
    """

    def get(self, space: str, key: bytes) -> bytes | None: ...

    def fetch(self, pairs: Sequence[Pair]) -> list[bytes | None]:
        """The values of many keys in one round trip, in their order; ``None`` for what is not there."""
        ...

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """`fetch` within one space; fastest in the order of keys."""
        ...

    def scan(self, space: str, prefix: bytes = b"", start: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        """Pairs whose key begins with ``prefix``, from ``start`` on, in order of keys. Where views are not steady, a long
        scan is read in parts: each key is of one moment, and what is written meanwhile may be in it or not."""
        ...


class OnlineWriter(OnlineReader, Protocol):
    """One write transaction: what it reads it reads as of its own writes, and nobody else commits meanwhile."""

    def put(self, space: str, key: bytes, value: bytes) -> None: ...

    def put_many(self, space: str, pairs: Sequence[tuple[bytes, bytes]], *, keep_ms: int | None = None) -> None:
        """`put` of each pair (fastest in the order of their keys). With ``keep_ms`` a store that can may forget them when
        that time has passed without another write: for space only, readers filter by themselves."""
        ...

    def delete(self, space: str, key: bytes) -> None: ...


class OnlineStore(Protocol):
    """Promises: a transaction is seen whole or not at all, by every process; one writer at a time (others wait);
    readers never wait. Who lost its turn, because it stood still for too long, is refused at the end of its block by
    `Conflict` and has written nothing: it must read again what it knows from the store.

    A commit survives the death of the process. What survives the death of the store's machine is for the adapter to say;
    every adapter promises that positions and values are lost together, so that who folds the log begins where the store
    stands: at an earlier commit or, empty, at the beginning.

    A *space* is a named set of keys, made on first write. Keys are 1 to 511 bytes. Safe for threads.
    """

    @property
    def steady(self) -> bool:
        """Whether a view stays at the moment of its first call (LMDB), or only each call is one moment (Redis)."""
        ...

    def read(self) -> AbstractContextManager[OnlineReader]: ...

    def write(self, *, durable: bool = True) -> AbstractContextManager[OnlineWriter]:
        """A transaction: committed when the block ends, undone when it raises. With ``durable`` it also waits for the
        disk, where waiting helps."""
        ...

    def drop(self, space: str) -> None:
        """Forget a space and everything in it."""
        ...

    def close(self) -> None: ...
