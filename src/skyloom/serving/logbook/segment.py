"""A segment: one file of frames, in memory as the system's own cache holds it.

Its room is taken from the disk when it is made, so that a write never finds the disk full; what was written is in the
system's cache at once and outlives the death of the process, and after `sync` that of the machine.
"""

import errno
import mmap
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from skyloom.serving.logbook.frames import HEAD, Damage, Frame, frame_head, framed, frames

_NAME = re.compile(r"(\d{10})-([0-9a-f]{8})\.segment")
_ZEROS = bytes(1 << 18)
_LARGE = 1 << 15
"""Payloads of so many bytes are written by the file, and not copied before."""
_REMEMBERED = 1_000
"""Of a segment that is written to no more, the places of so many frames are kept, so that none need be found again."""
_Place = tuple[int, int, bytes, int, int]


class Segment:
    """One file. ``written`` is where its frames end, ``forwarded`` up to where others have them, ``synced`` up to where the
    disk has them (bytes). One thread writes at a time; any may read what is written."""

    def __init__(self, path: Path, handle: int) -> None:
        named = _NAME.fullmatch(path.name)
        if named is None:
            raise ValueError(f"{path.name} is no name of a segment")
        self.path, self.number, self.seed = path, int(named[1]), int(named[2], 16)
        self._handle = handle
        self.size = os.fstat(handle).st_size
        self.found = mmap.mmap(handle, self.size)
        self.written = self.forwarded = self.synced = 0
        self._fresh: deque[_Place] | None = None

    @classmethod
    def make(cls, folder: Path, number: int, size: int) -> "Segment":
        """A new one of ``size`` bytes, all of them taken from the disk. Raises `OSError` when it has no such room."""
        path = folder / _named(number)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, size)
            segment = cls(path, handle)
        except BaseException:
            os.close(handle)
            path.unlink()
            raise
        segment._fresh = deque()
        return segment

    @classmethod
    def open(cls, path: Path) -> "Segment | None":
        """One that is there, to be read: ``written`` is where its room begins that was never written to, as far as the file
        system knows of it: zeros need not be read. ``None`` for a file that never became one."""
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not os.fstat(handle).st_size:
            os.close(handle)
            return None
        segment = cls(path, handle)
        segment.written = segment.synced = _data_end(handle)
        return segment

    @staticmethod
    def paths(folder: Path) -> list[Path]:
        """The files of segments in a folder, oldest first."""
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))

    def write(self, model: bytes, rows: int, at_ms: int, payload: bytes | memoryview) -> bool:
        """Add a frame; ``False`` when it does not fit any more."""
        at = self.written
        end = at + HEAD + len(model) + len(payload)
        if end > self.size:
            return False
        if len(payload) < _LARGE:
            self.found[at:end] = framed(model, rows, at_ms, bytes(payload), self.seed)
        elif not self._written_through(at, end, frame_head(model, rows, at_ms, payload, self.seed), payload):
            return False
        self.written = end
        if self._fresh is not None:
            self._fresh.append((at, end, model, rows, at_ms))
        return True

    def _written_through(self, at: int, end: int, head: bytes, payload: bytes | memoryview) -> bool:
        """Whether a frame was written by the file: many pages are filled sooner so than by touching each in the memory that
        maps it. What only a part of came is no frame."""
        try:
            return os.pwritev(self._handle, [head, payload], at) == end - at
        except OSError:
            return False

    def waiting(self) -> Iterator[Frame | Damage]:
        """What is written and not forwarded yet; read and checked, unless this process has just written it."""
        fresh = self._fresh
        if fresh is None:
            return frames(self.found, self.forwarded, self.written, self.seed)
        return self._written_here(list(fresh))

    def read_from_now_on(self) -> None:
        """Forget where frames are, if they are many: what waits is found in the file again, however much that becomes."""
        if self._fresh is not None and len(self._fresh) > _REMEMBERED:
            self._fresh = None

    def done(self, upto: int) -> None:
        """What is before the byte ``upto`` was forwarded."""
        self.forwarded = upto
        fresh = self._fresh
        while fresh and fresh[0][1] <= upto:
            fresh.popleft()

    def _written_here(self, places: list["_Place"]) -> Iterator[Frame]:
        for at, end, model, rows, at_ms in places:
            yield Frame(at, end, model.decode(), rows, at_ms, self.found[at + HEAD + len(model) : end])

    def sync(self) -> None:
        """Bring what is written to the disk."""
        upto = self.written
        os.fsync(self._handle)
        self.synced = upto

    def clear(self) -> None:
        """Become empty, to be used again. Everything in it must have been forwarded."""
        at, end = self._cleared(), self.written
        while at < end:
            zeros = _ZEROS[: end - at]
            self.found[at : at + len(zeros)] = zeros
            at += len(zeros)
        self.written = self.forwarded = self.synced = 0
        self._fresh = deque()

    def _cleared(self) -> int:
        """How far zeros could be written by the file (see `_written_through`)."""
        at = 0
        try:
            while at < self.written:
                done = os.pwrite(self._handle, _ZEROS[: self.written - at], at)
                if not done:
                    break
                at += done
        except OSError:
            pass
        return at

    def renumber(self, number: int) -> None:
        """Take the place behind all others; it must be empty."""
        path = self.path.with_name(_named(number))
        self.path.rename(path)
        self.path, self.number, self.seed = path, number, int(path.name[11:19], 16)

    def close(self) -> None:
        """Let go of the file."""
        self.found.close()
        os.close(self._handle)

    def remove(self) -> None:
        """Take the file away."""
        self.close()
        self.path.unlink(missing_ok=True)


def _data_end(handle: int) -> int:
    """Where the last data of a file end (`lseek(2)`: holes, and room that was only taken, read as zeros)."""
    end = 0
    while True:
        try:
            end = os.lseek(handle, os.lseek(handle, end, os.SEEK_DATA), os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return end


def _named(number: int) -> str:
    return f"{number:010}-{os.urandom(4).hex()}.segment"
