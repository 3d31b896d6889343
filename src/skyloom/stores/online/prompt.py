"""An online store for who may not wait for it: while it does not answer, reads are refused at once."""

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from skyloom.kernel.errors import SkyloomError, Transient
from skyloom.ports.online import OnlineReader, OnlineStore, OnlineWriter, Pair

_T = TypeVar("_T")

PROBE_S = 0.1
_PROBED = ("positions", b"?")


class PromptOnline:
    """Reads of ``store``, until one fails with `Transient`. From then on every read fails at once, with the same reason, and
    a thread asks the store again and again; when that has an answer, reads go to the store again (a *circuit breaker*:
    Nygard, Release It!, 2007). How long the first one waits is the store's own timeout. Writes are the store's.
    """

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._why = ""
        self._closed = threading.Event()

    @property
    def steady(self) -> bool:
        return self._store.steady

    def read(self) -> AbstractContextManager[OnlineReader]:
        """A view. Raises `Transient`, here or when it is asked."""
        return self._viewed()

    @contextmanager
    def _viewed(self) -> Generator[OnlineReader]:
        with self.asking(self._store.read) as view:
            yield _Prompt(self, view)

    def asking(self, ask: Callable[[], _T]) -> _T:
        """What the store answers. Raises `Transient` at once while it is known not to answer."""
        if self._why:
            raise _refused(self._why)
        try:
            return ask()
        except Transient as error:
            self._fail(error)
            raise

    def _fail(self, error: Transient) -> None:
        with self._lock:
            if self._why or self._closed.is_set():
                return
            self._why = error.what
        threading.Thread(target=self._probe, name="online store", daemon=True).start()

    def _probe(self) -> None:
        """Ask until there is an answer, whatever it is."""
        while not self._closed.wait(PROBE_S):
            try:
                with self._store.read() as view:
                    view.get(*_PROBED)
            except Transient as error:
                self._why = error.what
                continue
            except SkyloomError:
                pass  # no matter of waiting: whoever reads next hears of it
            self._why = ""
            return

    def write(self, *, durable: bool = True) -> AbstractContextManager[OnlineWriter]:
        return self._store.write(durable=durable)

    def drop(self, space: str) -> None:
        self._store.drop(space)

    def close(self) -> None:
        """Close the store, and ask it no more."""
        self._closed.set()
        self._store.close()


class _Prompt:
    """A view whose failures are known to all readers."""

    __slots__ = ("_online", "_view")

    def __init__(self, online: PromptOnline, view: OnlineReader) -> None:
        self._online, self._view = online, view

    def get(self, space: str, key: bytes) -> bytes | None:
        return self._online.asking(lambda: self._view.get(space, key))

    def fetch(self, pairs: Sequence[Pair]) -> list[bytes | None]:
        return self._online.asking(lambda: self._view.fetch(pairs))

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._online.asking(lambda: self._view.get_many(space, keys))

    def scan(self, space: str, prefix: bytes = b"", start: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        return self._online.asking(lambda: self._view.scan(space, prefix, start))


def _refused(why: str) -> Transient:
    return Transient(why, tried="it is asked again in the background", fix="ask again in a moment")


if TYPE_CHECKING:
    from skyloom.stores.online.redis import RedisOnline

    _store: OnlineStore = PromptOnline(RedisOnline("redis://"))
