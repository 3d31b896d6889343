"""The mark: how far a journal was forwarded, and what is on its way, so that nobody forwards it twice."""

import mmap
import os
import zlib
from pathlib import Path

import msgspec

_SLOT = 4_096
_FILE = "mark"


class Mark(msgspec.Struct, frozen=True):
    """Of the segment ``number`` the bytes before ``done`` are in the log; those from there to ``flight`` may be.

    ``since`` maps each of their topics to an offset at or before which they can only lie in the log. Segments with a lower
    number are done. ``turn`` counts the marks. After a crash of the machine (another ``boot``) the disk may hold an older
    mark than was set last: then everything may be in the log, if not before ``since``.
    """

    number: int = -1
    done: int = 0
    flight: int = 0
    since: dict[str, int] = {}
    turn: int = 0
    boot: str = ""


def boot() -> str:
    """What the system calls the time since the machine was started; empty where it has no name for that."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class MarkFile:
    """A file of two places, written in turn: one of them is whole whenever the process dies."""

    def __init__(self, folder: Path) -> None:
        handle = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, 2 * _SLOT)
            self._found = mmap.mmap(handle, 2 * _SLOT)
        finally:
            os.close(handle)
        self._turn, self._boot = self.read().turn, boot()

    def read(self) -> Mark:
        """The newest mark that is whole; one that says nothing when there is none."""
        marks = [mark for mark in map(self._place, range(2)) if mark is not None]
        return max(marks, key=lambda mark: mark.turn, default=Mark())

    def write(self, number: int, done: int, flight: int, since: dict[str, int]) -> None:
        """Set the mark."""
        self._turn += 1
        content = msgspec.msgpack.encode(Mark(number, done, flight, since, self._turn, self._boot))
        if len(content) > _SLOT - 8:  # thousands of models at once: know less, look further back
            content = msgspec.msgpack.encode(Mark(number, done, flight, {}, self._turn, self._boot))
        head = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
        at = self._turn % 2 * _SLOT
        self._found[at : at + 8 + len(content)] = head + content

    def close(self) -> None:
        """Let go of the file."""
        self._found.close()

    def _place(self, place: int) -> Mark | None:
        slot = self._found[place * _SLOT : (place + 1) * _SLOT]
        content = slot[8 : 8 + int.from_bytes(slot[4:8], "little")]
        if not content or zlib.crc32(content).to_bytes(4, "little") != slot[:4]:
            return None
        return msgspec.msgpack.decode(content, type=Mark)
