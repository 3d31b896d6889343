"""LMDB as a process may use it: one environment per folder, shared by its threads, that grows as it fills.

LMDB's own rules, kept here so that the stores need not think of them:

- A process opens an environment once, and never uses one that it inherited through a fork: `Handle` sees to both.
- The map may change size only while no transaction of this process runs: `Gate`.
- Databases are opened by one transaction at a time, and never while others run. So a fixed number of them is opened
  together with the environment, and a directory inside it says which *space* (a topic, a set of keys) has which.
- The slot of a reader that was killed stays taken until somebody checks: done at every opening and before growing.
"""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from skyloom.kernel.errors import Damaged, DataError, SkyloomError, Transient, UsageError
from skyloom.stores.files import NO_ROOM, private_folder, sync_folder
from skyloom.stores.gate import Gate

if TYPE_CHECKING:
    import lmdb

SPACES = 256
_READERS = 1024
_GIB = 1 << 30


if TYPE_CHECKING:
    Found = dict[str, lmdb._Database]  # pyright: ignore[reportPrivateUsage]


class View:
    """One transaction: spaces by name."""

    __slots__ = ("environment", "found", "txn")

    def __init__(self, environment: "Environment", txn: "lmdb.Transaction[bytes]", found: "Found") -> None:
        self.environment = environment
        self.txn = txn
        self.found = found

    def find(self, space: str) -> "lmdb._Database | None":
        """The database of a space, or ``None`` when it was never written."""
        database = self.found.get(space)
        if database is None:
            slot = self.txn.get(_name(space), db=self.environment.directory)
            if slot is None:
                return None
            database = self.found[space] = self.environment.slots[int.from_bytes(slot, "big")]
        return database

    def make(self, space: str) -> "lmdb._Database":
        """The database of a space, new if need be. Raises `DataError` when all are taken."""
        database = self.find(space)
        if database is None:
            taken = {slot for _, slot in self.txn.cursor(db=self.environment.directory)}
            slot = next((i for i in range(SPACES) if i.to_bytes(2, "big") not in taken), None)
            if slot is None:
                raise DataError(f"{self.environment.path} holds {SPACES} spaces: there is no room for {space!r}")
            self.txn.put(_name(space), slot.to_bytes(2, "big"), db=self.environment.directory)
            database = self.found[space] = self.environment.slots[slot]
        return database

    def drop(self, space: str) -> None:
        """Forget a space and everything in it."""
        database = self.find(space)
        if database is not None:
            self.txn.drop(database, delete=False)
            self.txn.delete(_name(space), db=self.environment.directory)
            del self.found[space]


class Reading:
    """A context manager for one consistent view. A class, not a generator: serving enters it for every request."""

    __slots__ = ("_environment", "_view")

    def __init__(self, environment: "Environment") -> None:
        self._environment = environment

    def __enter__(self) -> View:
        self._view = View(self._environment, *self._environment.begin(write=False))
        return self._view

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._environment.end(self._view.txn)


class Environment:
    """An open environment. Safe for threads. Raises `Transient` (no room, too many readers) and `Damaged`."""

    def __init__(self, path: Path, *, sync: bool, map_bytes: int = _GIB) -> None:
        import lmdb

        self.path = path
        self.pid = os.getpid()
        self.holders = 0
        self._driver = lmdb
        self._gate = Gate()
        self._found: tuple[int, Found] = (-1, {})
        private_folder(path)
        with translated(path):
            while True:
                try:
                    self._open(sync=sync, map_bytes=map_bytes)
                    break
                except lmdb.MapResizedError:
                    continue  # others made it larger in between: the next try finds it as large
        sync_folder(path)

    def _open(self, *, sync: bool, map_bytes: int) -> None:
        import lmdb

        self.lmdb = lmdb.open(
            str(self.path), map_bytes, mode=0o700, sync=sync, max_readers=_READERS, max_dbs=SPACES + 1, max_spare_txns=1
        )
        try:
            self.lmdb.reader_check()
            with self.lmdb.begin(write=True) as txn:
                self.directory = self.lmdb.open_db(b"directory", txn=txn)
                self.slots = [self.lmdb.open_db(b"space-%d" % slot, txn=txn) for slot in range(SPACES)]
        except lmdb.Error:
            self.lmdb.close()
            raise

    def reading(self) -> Reading:
        """A view of this moment, for a ``with`` block. Readers never wait for a writer."""
        return Reading(self)

    @contextmanager
    def writing(self) -> Generator[View]:
        """A write transaction: committed when the block ends, undone when it raises.

        One that does not fit the map raises `Transient` after the map has grown: the same again will fit.
        """
        self._make_room()
        size = self.map_bytes
        try:
            with translated(self.path):
                txn, found = self.begin(write=True)
                try:
                    yield View(self, txn, found)
                    txn.commit()
                finally:
                    self.end(txn)
        except Transient as error:
            if self.outgrown(error):
                self.grow(size)
            raise

    @staticmethod
    def outgrown(error: Transient) -> bool:
        """Whether `writing` failed because the map was too small, which it is no more."""
        import lmdb

        return isinstance(error.__cause__, lmdb.MapFullError)

    @property
    def map_bytes(self) -> int:
        """How large the file may become before the map has to grow."""
        return self.lmdb.info()["map_size"]

    def _make_room(self) -> None:
        info = self.lmdb.info()
        if (info["last_pgno"] + 1) * os.sysconf("SC_PAGE_SIZE") * 2 > info["map_size"]:
            with suppress(Transient):  # inside a view of this thread, or beside a long one: perhaps it fits as it is
                self.grow(info["map_size"])

    def grow(self, size: int) -> None:
        """Double a map of ``size`` bytes, unless somebody has. Waits for the transactions of the other threads."""
        with self._gate.alone(), translated(self.path):
            if self.map_bytes <= size:
                self.lmdb.reader_check()
                self.lmdb.set_mapsize(2 * size)

    def begin(self, *, write: bool) -> "tuple[lmdb.Transaction[bytes], Found]":
        """A transaction that has to be ended by `end`, and where the spaces that somebody has asked for are."""
        while True:
            self._gate.enter()
            try:
                txn = self.lmdb.begin(write=write)
                if write:
                    return txn, {}
                last, moment = self._found, txn.id()
                if last[0] != moment:  # between two commits no space moves: what one reader finds is for all
                    last = self._found = moment, {}
                return txn, last[1]
            except self._driver.MapResizedError:
                self._gate.leave()
            except self._driver.Error as error:
                self._gate.leave()
                raise explained(error, self.path) from error
            with self._gate.alone():
                self.lmdb.set_mapsize(0)  # what another process has made it

    def end(self, txn: "lmdb.Transaction[bytes]") -> None:
        """Undo a transaction that was not committed, and let the map change."""
        txn.abort()
        self._gate.leave()

    def sync(self) -> None:
        """Bring all commits to the disk."""
        with translated(self.path):
            self.lmdb.sync(True)


def _name(space: str) -> bytes:
    name = space.encode()
    if not 0 < len(name) <= 511:
        raise UsageError(f"a space has a name of 1 to 511 bytes, not {len(name)}")
    return name


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Turns LMDB's errors into ours."""
    import lmdb

    try:
        yield
    except lmdb.Error as error:
        raise explained(error, path) from error


def explained(error: "lmdb.Error", path: Path) -> SkyloomError:
    """What an error of LMDB means here."""
    import lmdb

    if isinstance(error, lmdb.BadValsizeError):
        return UsageError("a key has 1 to 511 bytes", tried=str(path))
    if error.code == errno.EBUSY:
        return UsageError("a write transaction inside another of the same thread", fix="end the outer one first")
    passing = isinstance(error, lmdb.MapFullError | lmdb.ReadersFullError | lmdb.DiskError)
    if passing or error.code in NO_ROOM | {errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EROFS, errno.EACCES}:
        return Transient(
            f"{path} cannot be written now: {error}", tried=str(path), fix="free some space there, then try again"
        )
    return Damaged(f"{path} cannot be used: {error}", tried=str(path), fix="put the folder back from a copy")
