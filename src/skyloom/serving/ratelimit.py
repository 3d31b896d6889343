"""How often a key may ask: so many requests a second, so many a day, over all serving processes of this machine."""

import fcntl
import logging
import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from skyloom.kernel.records.release import KeyDigest
from skyloom.serving.wire import Problem

_log = logging.getLogger("skyloom.serving")

_ENTRY = struct.Struct("<8sdqq")  # the key's prefix, when its next request is due (s since 1970), a day, requests on it
_ENTRIES = 8_192
_DAY_S = 86_400


def _file(path: Path) -> BinaryIO | None:
    """The file, as long as it has to be; ``None`` on a disk that has no room for it, or may not be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        os.posix_fallocate(file.fileno(), 0, _ENTRIES * _ENTRY.size)  # writing to a hole could end the process
    except OSError as error:
        _log.error("each process counts what keys ask for itself: %s cannot be written (%s)", path, error.strerror)
        return None
    return file


class Rates:
    """Counts in a file that all processes map into memory, so that quotas outlive them; without a file in memory alone.

    A rate is kept by the generic cell rate algorithm (ITU-T I.371, annex A): requests are due every ``1 / per_second``
    seconds, and may come early by as many as are due within a second. Days are those of UTC. To be used by one thread of a
    process.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._file = None if path is None else _file(path)
        handle = -1 if self._file is None else self._file.fileno()
        self._memory = mmap.mmap(handle, _ENTRIES * _ENTRY.size)

    def take(self, key: KeyDigest) -> None:
        """Count one request of a key; `Problem` with 429, and when to ask again, when it has had its share."""
        if not (key.per_second or key.per_day):
            return
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._take(key, self._clock())
        finally:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file; the counts stay in it."""
        self._memory.close()
        if self._file is not None:
            self._file.close()

    def _take(self, key: KeyDigest, now_s: float) -> None:
        at, due_s, day, count = self._entry(key.prefix.encode())
        today = int(now_s // _DAY_S)
        count = count if day == today else 0
        if key.per_day and count >= key.per_day:
            wait_s = (today + 1) * _DAY_S - now_s
            raise Problem(429, f"key sky_{key.prefix} has had its {key.per_day:,} requests of today (UTC)", retry_s=wait_s)
        if key.per_second:
            each_s = 1 / key.per_second
            due_s = max(due_s, now_s)
            early_s = due_s - now_s - max(1.0 - each_s, 0.0)
            if early_s > 1e-9:
                why = f"key sky_{key.prefix} may ask {key.per_second:g} times a second"
                raise Problem(429, why, retry_s=early_s)
            due_s += each_s
        _ENTRY.pack_into(self._memory, at, key.prefix.encode(), due_s, today, count + 1)

    def _entry(self, prefix: bytes) -> tuple[int, float, int, int]:
        """Where the counts of a key are, and what they are; a key that finds no room shares the place of another."""
        first = zlib.crc32(prefix) % _ENTRIES
        for step in range(64):
            at = (first + step) % _ENTRIES * _ENTRY.size
            owner, due_s, day, count = _ENTRY.unpack_from(self._memory, at)
            if owner in (prefix, bytes(8)):
                return at, due_s, day, count
        at = first * _ENTRY.size
        _, due_s, day, count = _ENTRY.unpack_from(self._memory, at)
        return at, due_s, day, count
