"""Connections to one SQLite file: one per thread, none of them used across a fork."""

import fcntl
import os
import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from skyloom.kernel.errors import DataError, Transient, UsageError
from skyloom.stores.files import private_folder, sync_folder, writable

if TYPE_CHECKING:
    import apsw

_PATIENCE_MS = 10_000

_TABLES = """
CREATE TABLE IF NOT EXISTS document (
    kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS change (
    number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
    kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body BLOB, link TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS change_of ON change (kind, id, version);
CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, link TEXT NOT NULL);
INSERT OR IGNORE INTO head VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
"""


class Connections:
    """The connections of this process to the file ``path``. Safe for threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.local()
        self._all: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._pid = os.getpid()
        self._inherited: list[object] = []
        self._closed = False
        with writable(path.parent), translated(path):
            private_folder(path.parent)
            with _alone(path):
                self.mine().execute(_TABLES)
            sync_folder(path.parent)

    def mine(self) -> "apsw.Connection":
        """The connection of the calling thread."""
        if self._closed:
            raise UsageError(f"{self.path} was closed", fix="open it again")
        if self._pid != os.getpid():
            self._forget()
        connection: apsw.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = _connect(self.path)
            self._all.add(connection)
        return connection

    def _forget(self) -> None:
        # Kept, not closed: SQLite forbids any use of a connection, closing included, across a fork.
        self._inherited.append((list(self._all), self._threads))
        self._threads, self._all, self._pid = threading.local(), weakref.WeakSet(), os.getpid()

    def close(self) -> None:
        """Close the connections of all threads of this process."""
        self._closed = True
        if self._pid == os.getpid():
            for connection in list(self._all):
                connection.close()


def _connect(path: Path) -> "apsw.Connection":
    import apsw

    with translated(path):
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(_PATIENCE_MS)
        connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        return connection


@contextmanager
def _alone(path: Path) -> Generator[None]:
    # The change to a write-ahead log is the one step in which SQLite does not wait for others.
    lock = os.open(path.with_name(path.name + "-opening"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        yield
    finally:
        os.close(lock)


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Turns SQLite's errors into ours."""
    import apsw

    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Transient(f"{path} was busy for more than ten seconds", tried=str(path), fix="try again") from error
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.NoMemError) as error:
        fix = "free some space there, then try again"
        raise Transient(f"{path} cannot be written now: {error}", tried=str(path), fix=fix) from error
    except apsw.Error as error:
        raise DataError(f"{path} cannot be used: {error}", tried=str(path), fix="put the file back from a copy") from error
