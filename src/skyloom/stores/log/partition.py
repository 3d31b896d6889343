"""One partition of a topic inside a transaction of LMDB.

The key of a batch is its first offset (8 bytes, big-endian). Partition 0 has a space of its own; all others of a topic share
one, their number (4 bytes) before the offset. The end of each partition and the bytes that it keeps are beside them, so
that the end outlives truncation.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from skyloom.kernel.errors import Damaged, UsageError
from skyloom.ports.log import LogBatch, NewBatch
from skyloom.stores.environment import View
from skyloom.stores.log.framing import HEADER, framed, unframed

if TYPE_CHECKING:
    import lmdb

ENDS, BYTES, POSITIONS, COUNTS = "\0ends", "\0bytes", "\0positions", "\0partitions"

Judge = Callable[[LogBatch, int], bool]
"""Whether the oldest batch is to be forgotten, given the bytes that are kept with it."""


class Partition:
    """Partition ``number`` of ``topic``, as ``view`` sees it."""

    def __init__(self, view: View, topic: str, number: int) -> None:
        if not topic or "\0" in topic:
            raise UsageError(f"no topic is called {topic!r}")
        self._view = view
        self._topic = topic
        self._space = topic + "\0" if number else topic
        self._prefix = _integer(number, 4) if number else b""
        self._name = topic.encode() + (b"\0" + self._prefix if number else b"")
        self._consumers = topic.encode() + b"\0" + _integer(number, 4)

    def end(self) -> int:
        """The offset that the next row will take."""
        return self._get(ENDS, self._name) or 0

    def start(self) -> int:
        """The offset of the first row that is kept."""
        first = next(self._from(0), None)
        return self.end() if first is None else first.first

    def append(self, batches: Sequence[NewBatch]) -> list[int]:
        """Append in order; the first offset of each."""
        database, end, kept = self._view.make(self._space), self.end(), self._kept()
        last = not self._prefix  # the first partition's batches all go to the end of its space
        firsts: list[int] = []
        for batch in batches:
            stored = framed(batch)
            if not self._view.txn.put(self._key(end), stored, append=last, overwrite=False, db=database):
                raise Damaged(
                    f"the end of {self._topic} is not after its last batch: the log is damaged",
                    fix="put back a copy of the folder `log`, or move it away to begin anew",
                )
            firsts.append(end)
            end, kept = end + batch.count, kept + len(stored)
        self._put(ENDS, self._name, end)
        self._put(BYTES, self._name, kept)
        return firsts

    def read(self, offset: int, max_rows: int) -> list[LogBatch]:
        """Batches from the one that holds ``offset`` on."""
        batches: list[LogBatch] = []
        rows = 0
        for batch in self._from(offset):
            batches.append(batch)
            rows += batch.count
            if rows >= max_rows:
                break
        return batches

    def forget(self, judge: Judge, most: int) -> bool:
        """Forget the oldest batches, as long as they are judged so; whether ``most`` of them were, so that there may be
        more."""
        database = self._view.find(self._space)
        if database is None:
            return False
        kept, forgotten = self._kept(), 0
        for batch in self._from(0):
            if forgotten == most or not judge(batch, kept):
                break
            self._view.txn.delete(self._key(batch.first), db=database)
            kept, forgotten = kept - HEADER.size - len(batch.payload), forgotten + 1
        self._put(BYTES, self._name, kept)
        return forgotten == most

    def committed(self, consumer: str) -> int:
        """A consumer's position."""
        return self._get(POSITIONS, self._consumers + consumer.encode()) or 0

    def commit(self, consumer: str, offset: int) -> int:
        """Move a consumer's position forward; where it is then."""
        offset = max(offset, self.committed(consumer))
        self._put(POSITIONS, self._consumers + consumer.encode(), offset)
        return offset

    def consumers(self) -> dict[str, int]:
        """The position of every consumer."""
        database = self._view.find(POSITIONS)
        found: dict[str, int] = {}
        if database is None:
            return found
        with self._view.txn.cursor(db=database) as cursor:
            there = cursor.set_range(self._consumers)
            while there and cursor.key().startswith(self._consumers):
                name = cursor.key()[len(self._consumers) :].decode()
                found[name] = int.from_bytes(cursor.value(), "big")
                there = cursor.next()
        return found

    def _from(self, offset: int) -> Iterator[LogBatch]:
        """The batch that holds ``offset``, or the first after it, and what follows. A batch may be deleted once given."""
        database = self._view.find(self._space)
        if database is None:
            return
        with self._view.txn.cursor(db=database) as cursor:
            there = self._seek(cursor, offset)
            while there and cursor.key().startswith(self._prefix):
                batch = self._batch(cursor)
                yield batch
                there = cursor.set_range(self._key(batch.end))

    def _seek(self, cursor: "lmdb.Cursor[bytes]", offset: int) -> bool:
        after = cursor.set_range(self._key(offset))
        if after and cursor.key() == self._key(offset):
            return True
        before = cursor.prev() if after else cursor.last()
        if before and cursor.key().startswith(self._prefix) and self._batch(cursor).end > offset:
            return True
        return cursor.next() if before else cursor.first()

    def _batch(self, cursor: "lmdb.Cursor[bytes]") -> LogBatch:
        key, value = cursor.item()
        return unframed(int.from_bytes(key[len(self._prefix) :], "big"), value)

    def _key(self, offset: int) -> bytes:
        return self._prefix + _integer(max(offset, 0), 8)

    def _kept(self) -> int:
        """The bytes of all batches; counted, once, where a log of before this was counted is written or cut."""
        kept = self._get(BYTES, self._name)
        return sum(HEADER.size + len(batch.payload) for batch in self._from(0)) if kept is None else kept

    def _get(self, space: str, key: bytes) -> int | None:
        database = self._view.find(space)
        found = None if database is None else self._view.txn.get(key, db=database)
        return None if found is None else int.from_bytes(found, "big")

    def _put(self, space: str, key: bytes, number: int) -> None:
        self._view.txn.put(key, _integer(number, 8), db=self._view.make(space))


def partitions(view: View, topic: str) -> int | None:
    """The number of partitions that a topic was made with, or `None` for one that is not there."""
    counts = view.find(COUNTS)
    found = None if counts is None else view.txn.get(topic.encode(), db=counts)
    if found is not None:
        return int.from_bytes(found, "big")
    return None if view.find(topic) is None else 1  # written before topics had partitions


def declare(view: View, topic: str, count: int) -> None:
    """Write down how many partitions a topic has."""
    view.txn.put(topic.encode(), _integer(count, 4), db=view.make(COUNTS))


def _integer(number: int, size: int) -> bytes:
    return number.to_bytes(size, "big")
