"""The online store in one LMDB environment: a database per space.

Every commit survives the death of the process, `SIGKILL` included: LMDB writes to the file, and the system keeps what
was written. What the machine's own death leaves is told by `skyloom.stores.online.marker`. Linux.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from skyloom.ports.online import OnlineReader, OnlineStore, OnlineWriter, Pair
from skyloom.stores.environment import Environment, View, translated
from skyloom.stores.online.marker import Marker, sound_folder
from skyloom.stores.sharing import Handle

if TYPE_CHECKING:
    import lmdb


class LmdbOnline:
    """An online store in the folder ``path``, made when it is new.

    A durable commit survives the machine, unless others that were not durable have followed: then the store opens empty.
    Of no use in a process forked later. Raises `Transient` (no room, nothing written) and `DataError` (damage).

    >>> import tempfile
    >>> store = LmdbOnline(Path(tempfile.mkdtemp()))
    >>> with store.write(durable=False) as writer:
    ...     writer.put("carrier", b"UA", b"tiles")
    >>> with store.read() as reader:
    ...     reader.fetch([("carrier", b"UA"), ("carrier", b"AA")])
    [b'tiles', None]
    >>> store.close()
    """

    steady = True

    def __init__(self, path: Path, *, map_bytes: int = 1 << 30) -> None:
        self._handle = Handle(path, partial(_open, map_bytes=map_bytes))
        self._marker = Marker(path)

    def read(self) -> "_Read":
        """One consistent view."""
        return _Read(self._handle.environment())

    @contextmanager
    def write(self, *, durable: bool = True) -> Generator[OnlineWriter]:
        """A transaction: committed when the block ends, undone when it raises.

        With ``durable`` it waits for the disk three times, without for nothing. A transaction that outgrows the store's
        map (half a gigabyte or more) raises `Transient` and fits when it is tried again.
        """
        environment = self._handle.environment()
        with environment.writing() as view:
            yield _Writer(environment, view.txn, view.found)
            self._marker.set()
        if durable:
            self._settle(environment)

    def _settle(self, environment: Environment) -> None:
        with environment.writing():  # no other commit comes between what is synced and what the marker says
            environment.sync()
            self._marker.clear()

    def drop(self, space: str) -> None:
        """Forget a space and everything in it."""
        environment = self._handle.environment()
        with environment.writing() as view:
            view.drop(space)
            self._marker.set()
        self._settle(environment)

    def close(self) -> None:
        """Let go of the folder."""
        self._handle.close()
        self._marker.close()


class _Reader(View):
    __slots__ = ()

    def get(self, space: str, key: bytes) -> bytes | None:
        database = self.find(space)
        return None if database is None else self.txn.get(key, db=database)

    def fetch(self, pairs: Sequence[Pair]) -> list[bytes | None]:
        known, find, get = self.found.get, self.find, self.txn.get
        return [None if (db := known(space) or find(space)) is None else get(key, None, db) for space, key in pairs]

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        database = self.find(space)
        if database is None:
            return [None] * len(keys)
        with self.txn.cursor(db=database) as cursor:
            found: dict[bytes, bytes] = dict(cursor.getmulti(keys))
        return [found.get(key) for key in keys] if found else [None] * len(keys)

    def scan(self, space: str, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        database = self.find(space)
        if database is None:
            return
        with self.txn.cursor(db=database) as cursor:
            there = _first(cursor, max(prefix, start))
            while there and cursor.key().startswith(prefix):
                yield cursor.item()
                there = cursor.next()


class _Read(_Reader):
    """The view of a `LmdbOnline`, for a ``with`` block. Serving enters one for every request: so few layers."""

    __slots__ = ()

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def __enter__(self) -> OnlineReader:
        self.txn, self.found = self.environment.begin(write=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.environment.end(self.txn)
        if value is not None:
            with translated(self.environment.path):
                raise value


class _Writer(_Reader):
    __slots__ = ()

    def put_many(self, space: str, pairs: Sequence[tuple[bytes, bytes]], *, keep_ms: int | None = None) -> None:
        with self.txn.cursor(db=self.make(space)) as cursor:
            cursor.putmulti(pairs)

    def put(self, space: str, key: bytes, value: bytes) -> None:
        self.txn.put(key, value, db=self.make(space))

    def delete(self, space: str, key: bytes) -> None:
        database = self.find(space)
        if database is not None:
            self.txn.delete(key, db=database)


def _first(cursor: "lmdb.Cursor[bytes]", key: bytes) -> bool:
    return cursor.set_range(key) if key else cursor.first()


def _open(path: Path, *, map_bytes: int) -> Environment:
    with sound_folder(path):
        environment = Environment(path, sync=False, map_bytes=map_bytes)
        environment.sync()
        return environment


if TYPE_CHECKING:
    _store: OnlineStore = LmdbOnline(Path())
