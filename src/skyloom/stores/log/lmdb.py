"""The log in one LMDB environment: a batch per entry. See `skyloom.stores.log.partition` for its layout."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from skyloom.kernel.errors import Transient, UsageError
from skyloom.ports.log import Log, LogBatch, NewBatch
from skyloom.stores.environment import Environment, View
from skyloom.stores.log.framing import check_count, check_topic, made_with
from skyloom.stores.log.limits import Limits, check_position
from skyloom.stores.log.partition import Judge, Partition, declare, partitions
from skyloom.stores.sharing import Handle

_T = TypeVar("_T")

_FORGOTTEN_AT_ONCE = 4_096


class LmdbLog:
    """A log in the folder ``path``, made when it is new. Every append is on the disk before it returns.

    A topic under ``events/`` that is not declared is made with ``partitions`` of them by its first append, any other topic
    with one; what is there keeps its number, whatever the log is opened with later. Of no use in a process forked later.
    Raises `Transient` (no room, nothing written) and `Damaged`. Truncation frees room inside the file, which
    never becomes shorter.

    A process that is killed inside a commit, after LMDB wrote its meta page and before it published that in the lock
    file, leaves a transaction that is on the disk, is not yet seen, and becomes visible with the next write of any
    process (LMDB's owner-dead recovery). So an append that never returned may appear late; no offset is given twice.

    >>> import tempfile
    >>> log = LmdbLog(Path(tempfile.mkdtemp()))
    >>> log.append("events/arrivals", [NewBatch(3, 0, False, b"rows"), NewBatch(1, 0, False, b"row")])
    [0, 3]
    >>> log.read("events/arrivals", 2)[0].payload, log.end("events/arrivals")
    (b'rows', 4)
    >>> log.commit("worker", "events/arrivals", 3)
    3
    >>> log.retain("events/arrivals", now_ms=9_000, max_age_ms=1_000)  # the last row is yet to be read
    3
    >>> log.close()
    """

    dense = True
    atomic = True

    def __init__(self, path: Path, partitions: int = 1, *, map_bytes: int = 1 << 30) -> None:
        check_count(partitions)
        self._parted = partitions
        self._counts: dict[str, int] = {}
        self._handle = Handle(path, partial(Environment, sync=True, map_bytes=map_bytes))

    def declare(self, topic: str, partitions: int) -> None:
        """Make a topic of so many partitions, if it is not there."""
        check_count(partitions)
        self._writing(lambda view: _declare(view, topic, partitions))

    def partitions(self, topic: str) -> int:
        """The number of partitions; that with which it would be made for a topic that is not there."""
        environment = self._handle.environment()
        if topic not in self._counts:
            with environment.reading() as view:
                count = partitions(view, topic)
            if count is None:
                return made_with(topic, self._parted)
            self._counts[topic] = count
        return self._counts[topic]

    def append(self, topic: str, batches: Sequence[NewBatch], partition: int = 0) -> list[int]:
        """Append in one transaction, which makes the topic if it is not there; the first offset of each batch."""
        return self._writing(lambda view: self._made(view, topic, partition).append(batches))

    def read(self, topic: str, offset: int, max_rows: int = 65_536, partition: int = 0) -> list[LogBatch]:
        """Batches from the one that holds ``offset`` on, or from the first that was not truncated."""
        with self._handle.environment().reading() as view:
            return self._partition(view, topic, partition).read(offset, max_rows)

    def start(self, topic: str, partition: int = 0) -> int:
        """The offset of the first row that is kept."""
        with self._handle.environment().reading() as view:
            return self._partition(view, topic, partition).start()

    def end(self, topic: str, partition: int = 0) -> int:
        """The offset that the next row will take."""
        with self._handle.environment().reading() as view:
            return self._partition(view, topic, partition).end()

    def commit(self, consumer: str, topic: str, offset: int, partition: int = 0) -> int:
        """Move a consumer's position forward; on the disk before it returns."""
        check_position(consumer, offset)
        return self._writing(lambda view: self._partition(view, topic, partition).commit(consumer, offset))

    def committed(self, consumer: str, topic: str, partition: int = 0) -> int:
        """A consumer's position."""
        with self._handle.environment().reading() as view:
            return self._partition(view, topic, partition).committed(consumer)

    def consumers(self, topic: str, partition: int = 0) -> dict[str, int]:
        """The position of every consumer."""
        with self._handle.environment().reading() as view:
            return self._partition(view, topic, partition).consumers()

    def retain(
        self,
        topic: str,
        *,
        now_ms: int,
        max_bytes: int | None = None,
        max_age_ms: int | None = None,
        keep_from: int | None = None,
        partition: int = 0,
    ) -> int:
        """Forget the oldest batches beyond the limits, some thousands a transaction; the offset of the first one kept."""
        if keep_from is None:
            keep_from = min(self.consumers(topic, partition).values(), default=None)
        self._forget(topic, partition, Limits(now_ms, max_bytes, max_age_ms, keep_from).exceeded)
        return self.start(topic, partition)

    def truncate(self, topic: str, before: int, partition: int = 0) -> None:
        """Forget batches that end at or before ``before``."""
        self._forget(topic, partition, lambda batch, _: batch.end <= before)

    def close(self) -> None:
        """Let go of the folder."""
        self._handle.close()

    def _made(self, view: View, topic: str, partition: int) -> Partition:
        """A partition that is written to. Which topics have only one need not be written down."""
        found = self._partition(view, topic, partition)
        count = made_with(topic, self._parted)
        if count > 1 and partitions(view, topic) is None:
            declare(view, topic, count)
        return found

    def _partition(self, view: View, topic: str, number: int) -> Partition:
        if number:
            check_topic(topic, number, self._count(view, topic))
        return Partition(view, topic, number)

    def _count(self, view: View, topic: str) -> int:
        return partitions(view, topic) or made_with(topic, self._parted)

    def _forget(self, topic: str, partition: int, judge: Judge) -> None:
        while self._writing(lambda view: self._partition(view, topic, partition).forget(judge, _FORGOTTEN_AT_ONCE)):
            pass

    def _writing(self, change: Callable[[View], _T]) -> _T:
        """Make a change in one transaction, again where the map had to grow for it."""
        environment = self._handle.environment()
        while True:
            try:
                with environment.writing() as view:
                    return change(view)
            except Transient as error:
                if not environment.outgrown(error):
                    raise


def _declare(view: View, topic: str, count: int) -> None:
    Partition(view, topic, 0)  # a name that cannot be is refused
    there = partitions(view, topic)
    if there is None:
        declare(view, topic, count)
    elif there != count:
        raise UsageError(f"{topic} has {there} partitions, not {count}", fix="declare the number that it has")


if TYPE_CHECKING:
    _log: Log = LmdbLog(Path())
