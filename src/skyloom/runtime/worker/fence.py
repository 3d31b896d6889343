"""One worker at a time: who came later wins, and the other one learns it before it writes."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager

from skyloom.features.spaces import POSITIONS, pack, position
from skyloom.kernel.errors import Conflict
from skyloom.ports.online import OnlineReader, OnlineStore, OnlineWriter

_EPOCH = b"worker/epoch"


class Fenced:
    """An online store for one worker: to open it takes the next epoch, and every write checks it in its own transaction.

    `Conflict` from a write says that another worker has begun since; nothing was written then. Everything else goes
    through to the store.
    """

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        with store.write(durable=False) as writer:
            self.epoch = (position(writer, _EPOCH) or 0) + 1
            writer.put(POSITIONS, _EPOCH, pack(self.epoch))

    @property
    def steady(self) -> bool:
        """As the store."""
        return self._store.steady

    def read(self) -> AbstractContextManager[OnlineReader]:
        """As the store."""
        return self._store.read()

    @contextmanager
    def write(self, *, durable: bool = True) -> Generator[OnlineWriter]:
        """A transaction of the store, for the worker that took the newest epoch. Raises `Conflict` for another."""
        with self._store.write(durable=durable) as writer:
            self.require(writer)
            yield writer

    def require(self, view: OnlineReader) -> None:
        """Raises `Conflict` when another worker has begun since."""
        newest = position(view, _EPOCH)
        if newest != self.epoch:
            what = "the online store was lost" if newest is None else "another worker took over this project's stream work"
            raise Conflict(
                what,
                tried=f"a write with epoch {self.epoch}; the newest is {newest}",
                fix="nothing: this worker begins again from the store, or ends",
            )

    def drop(self, space: str) -> None:
        """As the store, for the worker that took the newest epoch."""
        with self._store.read() as view:
            self.require(view)
        self._store.drop(space)

    def close(self) -> None:
        """As the store."""
        self._store.close()
