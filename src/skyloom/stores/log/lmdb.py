"""The log in one LMDB environment: a database per topic, a batch per entry.

The key of a batch is its first offset (8 bytes, big-endian), the value a header (version, flags, count, time of
appending) and the payload. The end of each topic is kept beside them, so that it outlives truncation.
"""

import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from skyloom.kernel.errors import DataError, Transient, UsageError
from skyloom.ports.log import Log, LogBatch, NewBatch
from skyloom.stores.environment import Environment, View
from skyloom.stores.sharing import Handle

if TYPE_CHECKING:
    import lmdb

_HEADER = struct.Struct(">BBIq")
_VERSION = 1
_IMPORTED = 1
_ENDS = "\0ends"


class LmdbLog:
    """A log in the folder ``path``, made when it is new. Every append is on the disk before it returns.

    Of no use in a process forked later. Raises `Transient` (no room, nothing written) and `DataError` (damage).

    >>> import tempfile
    >>> log = LmdbLog(Path(tempfile.mkdtemp()))
    >>> log.append("events/arrivals", [NewBatch(3, 0, False, b"rows"), NewBatch(1, 0, False, b"row")])
    [0, 3]
    >>> log.read("events/arrivals", 2)[0].payload, log.end("events/arrivals")
    (b'rows', 4)
    >>> log.close()
    """

    def __init__(self, path: Path, *, map_bytes: int = 1 << 30) -> None:
        self._handle = Handle(path, partial(Environment, sync=True, map_bytes=map_bytes))

    def append(self, topic: str, batches: Sequence[NewBatch]) -> list[int]:
        """Append in one transaction; the first offset of each batch."""
        _check(topic, batches)
        environment = self._handle.environment()
        while True:
            try:
                with environment.writing() as view:
                    return _append(view, topic, batches)
            except Transient as error:
                if not environment.outgrown(error):
                    raise

    def read(self, topic: str, offset: int, max_rows: int = 65_536) -> list[LogBatch]:
        """Batches from the one that holds ``offset`` on, or from the first that was not truncated."""
        with self._handle.environment().reading() as view:
            database = view.find(topic)
            if database is None:
                return []
            with view.txn.cursor(db=database) as cursor:
                return _collect(cursor, offset, max_rows)

    def end(self, topic: str) -> int:
        """The offset that the next row will take."""
        with self._handle.environment().reading() as view:
            return _end(view, topic)

    def truncate(self, topic: str, before: int) -> None:
        """Forget batches that end at or before ``before``."""
        with self._handle.environment().writing() as view:
            database = view.find(topic)
            if database is None:
                return
            with view.txn.cursor(db=database) as cursor:
                while cursor.first() and _batch(cursor.item()).end <= before:
                    cursor.delete()

    def close(self) -> None:
        """Let go of the folder."""
        self._handle.close()


def _check(topic: str, batches: Sequence[NewBatch]) -> None:
    if topic.startswith("\0"):
        raise UsageError(f"no topic is called {topic!r}")
    for batch in batches:
        if not 0 < batch.count < 1 << 32:
            raise DataError(f"a batch of {batch.count} rows cannot be appended to {topic}")


def _append(view: View, topic: str, batches: Sequence[NewBatch]) -> list[int]:
    database, end = view.make(topic), _end(view, topic)
    firsts: list[int] = []
    for batch in batches:
        header = _HEADER.pack(_VERSION, _IMPORTED * batch.imported, batch.count, batch.appended_ms)
        if not view.txn.put(_key(end), header + batch.payload, append=True, db=database):
            raise DataError(f"the end of {topic} is not after its last batch: the log is damaged")
        firsts.append(end)
        end += batch.count
    view.txn.put(topic.encode(), _key(end), db=view.make(_ENDS))
    return firsts


def _key(offset: int) -> bytes:
    return offset.to_bytes(8, "big")


def _end(view: View, topic: str) -> int:
    ends = view.find(_ENDS)
    return 0 if ends is None else int.from_bytes(view.txn.get(topic.encode(), b"", db=ends), "big")


def _collect(cursor: "lmdb.Cursor[bytes]", offset: int, max_rows: int) -> list[LogBatch]:
    batches: list[LogBatch] = []
    rows, there = 0, _seek(cursor, offset)
    while there and rows < max_rows:
        batches.append(_batch(cursor.item()))
        rows += batches[-1].count
        there = cursor.next()
    return batches


def _seek(cursor: "lmdb.Cursor[bytes]", offset: int) -> bool:
    """Go to the batch that holds ``offset``, or to the first one after it."""
    after = cursor.set_range(_key(offset))
    if after and cursor.key() == _key(offset):
        return True
    before = cursor.prev() if after else cursor.last()
    if before and _batch(cursor.item()).end > offset:
        return True
    return cursor.next() if before else cursor.first()


def _batch(item: tuple[bytes, bytes]) -> LogBatch:
    key, value = item
    version, flags, count, appended_ms = _HEADER.unpack_from(value)
    if version != _VERSION:
        raise DataError(f"a batch of format {version} in the log", fix="read it with the version of skyloom that wrote it")
    first = int.from_bytes(key, "big")
    return LogBatch(first, count, appended_ms, bool(flags & _IMPORTED), value[_HEADER.size :])


if TYPE_CHECKING:
    _log: Log = LmdbLog(Path())
