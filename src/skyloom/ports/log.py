"""The log: append-only sequences of records by topic, in one total order each."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class LogBatch(msgspec.Struct, frozen=True):
    """Consecutive records that were appended together.

    ``payload`` is the encoded rows (see `skyloom.ingest.codec`); ``count`` rows take the offsets
    ``first .. first + count - 1``. ``imported`` marks history that was brought in from a table.
    """

    first: int
    count: int
    appended_ms: int
    imported: bool
    payload: bytes

    @property
    def end(self) -> int:
        """The offset after the last row."""
        return self.first + self.count


class NewBatch(msgspec.Struct, frozen=True):
    """Rows on their way into the log."""

    count: int
    appended_ms: int
    imported: bool
    payload: bytes


class Log(Protocol):
    """Promises: an append that returned survives the death of the process and of the machine; offsets of a topic start
    at 0 and have no gap; batches are read back in order and whole; any number of processes may append and read at once.
    Safe for threads. Raises `Transient` when the store cannot be written now (a full disk), and then nothing was written.
    """

    def append(self, topic: str, batches: Sequence[NewBatch]) -> list[int]:
        """Append in one transaction; the first offset of each batch."""
        ...

    def read(self, topic: str, offset: int, max_rows: int = 65_536) -> list[LogBatch]:
        """Batches from the one that holds ``offset`` on, about ``max_rows`` rows at most (at least one batch if any)."""
        ...

    def end(self, topic: str) -> int:
        """The offset that the next row will take; 0 for a topic that nobody wrote."""
        ...

    def truncate(self, topic: str, before: int) -> None:
        """Forget batches that end at or before ``before``."""
        ...

    def close(self) -> None: ...
