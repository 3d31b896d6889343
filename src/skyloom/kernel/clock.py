"""Where "now" comes from: the machine's clock, a test's, or one that follows the data."""

import mmap
import struct
import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Tells the moment in milliseconds since 1970 (UTC). Safe to call from any thread."""

    def now_ms(self) -> int: ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until it is told to move.

    >>> clock = ManualClock(5); clock.advance_to(9); clock.advance_to(7); clock.now_ms()
    9
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._now = now_ms

    def now_ms(self) -> int:
        return self._now

    def advance_to(self, now_ms: int) -> None:
        """Move forward to ``now_ms``; never back."""
        self._now = max(self._now, now_ms)


class DataClock:
    """A clock in eight shared bytes that follows the data: every process of a project on one machine reads it.

    One process (the one that replays) moves it. Before the first move it tells the machine's time.
    An aligned eight-byte store is seen whole by readers on the processors that Python runs on.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as handle:
            if handle.tell() < 8:
                handle.write(bytes(8 - handle.tell()))
        with path.open("r+b") as handle:
            self._map = mmap.mmap(handle.fileno(), 8)

    def now_ms(self) -> int:
        (now,) = struct.unpack("<q", self._map[:8])
        return now or time.time_ns() // 1_000_000

    def advance_to(self, now_ms: int) -> None:
        """Move forward to ``now_ms``; never back."""
        (now,) = struct.unpack("<q", self._map[:8])
        if now_ms > now:
            self._map[:8] = struct.pack("<q", now_ms)
