"""The log: append-only sequences of records by topic and partition, in one total order each."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

MAX_ROWS = 1 << 20
"""Rows that one batch may hold, in every log."""


class LogBatch(msgspec.Struct, frozen=True):
    """Consecutive records that were appended together.

    ``payload`` is the encoded rows (see `skyloom.ingest.codec`); ``count`` rows take the offsets
    ``first .. first + count - 1``. ``imported`` marks history that was brought in from a table. ``after`` is the offset
    to read on from where that is not ``first + count``: offsets rise always, and leave gaps between batches in some logs.

    >>> LogBatch(5, 3, 0, False, b"").end, LogBatch(5, 3, 0, False, b"", after=1024).end
    (8, 1024)
    """

    first: int
    count: int
    appended_ms: int
    imported: bool
    payload: bytes
    after: int | None = None

    @property
    def end(self) -> int:
        """The offset to read on from: greater than that of every row of this batch, at most that of the next row."""
        return self.first + self.count if self.after is None else self.after


class NewBatch(msgspec.Struct, frozen=True):
    """Rows on their way into the log."""

    count: int
    appended_ms: int
    imported: bool
    payload: bytes


class Log(Protocol):
    """Promises, for each partition of a topic (0 where none is named):

    - An append that returned survives the death of the process and of the machine.
    - Offsets begin at 0 and rise strictly; inside a batch they have no gap. Between batches they have none either where
      ``dense`` is true; everywhere else ``end`` of a batch is where to read on.
    - Batches are read back in order and whole; any number of processes may append and read at once.
    - An append of several batches is all or nothing where ``atomic`` is true. Elsewhere one that failed may have left some
      of them, and its caller appends again: readers know rows by their keys.
    - A consumer's position never goes back. It is what `retain` respects; the effects of a consumer and its position are
      made one by whoever keeps the effects.

    Safe for threads; of no use in a process forked later (`UsageError`). Raises `Transient` when the log cannot be written
    or reached now, `Damaged` when it is broken, and `DataError` for a batch that cannot be read or can never be appended.
    """

    @property
    def dense(self) -> bool:
        """Whether offsets have no gap between batches, so that differences of offsets count rows."""
        ...

    @property
    def atomic(self) -> bool:
        """Whether an append of several batches is all or nothing."""
        ...

    def declare(self, topic: str, partitions: int) -> None:
        """Make a topic of so many partitions, if it is not there. `UsageError` when it is there with another number."""
        ...

    def partitions(self, topic: str) -> int:
        """The number of partitions; for a topic that is not there, the number it would be made with."""
        ...

    def append(self, topic: str, batches: Sequence[NewBatch], partition: int = 0) -> list[int]:
        """Append in order; the first offset of each batch. `UsageError` for a partition that is not there."""
        ...

    def read(self, topic: str, offset: int, max_rows: int = 65_536, partition: int = 0) -> list[LogBatch]:
        """Batches from the one that holds ``offset`` on, about ``max_rows`` rows at most (at least one batch if any)."""
        ...

    def start(self, topic: str, partition: int = 0) -> int:
        """The offset of the first row that is kept; `end` when there is none."""
        ...

    def end(self, topic: str, partition: int = 0) -> int:
        """The offset that the next row will take (or one below it and above all others); 0 where nobody wrote."""
        ...

    def commit(self, consumer: str, topic: str, offset: int, partition: int = 0) -> int:
        """Say that a consumer is done with all rows below ``offset``; its position, which never goes back."""
        ...

    def committed(self, consumer: str, topic: str, partition: int = 0) -> int:
        """A consumer's position: 0 before its first commit."""
        ...

    def consumers(self, topic: str, partition: int = 0) -> dict[str, int]:
        """The position of every consumer that ever committed here, by name."""
        ...

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
        """Forget the oldest batches while more than ``max_bytes`` are kept or the oldest is older than ``max_age_ms``.

        Bytes are those of the stored batches (payload and 14 bytes each). Batches that end after ``keep_from`` are kept
        whatever the limits; unless it is given, it is the least position of all consumers, so that nothing is forgotten
        that one of them has yet to read. Returns the new `start`.
        """
        ...

    def truncate(self, topic: str, before: int, partition: int = 0) -> None:
        """Forget batches that end at or before ``before``, whoever has yet to read them."""
        ...

    def close(self) -> None: ...
