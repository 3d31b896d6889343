"""A journal: the segments of one process, in a folder that it holds a lock on for as long as it lives."""

import errno
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from skyloom.kernel.ids import new_id
from skyloom.serving.logbook.frames import HEAD, Damage, Frame, frame_at
from skyloom.serving.logbook.mark import MarkFile, boot
from skyloom.serving.logbook.segment import Segment

_log = logging.getLogger("skyloom.serving")

_LOCK, _DAMAGED, _PREFIX = "lock", "damaged", "w"
_ALL = (1 << 62, 0)
_REST_S = 0.2
"""How long the disk is not asked again after it had no room."""
_QUIET_S = 10.0
"""How long the disk must have had room, or not been asked, before it is said again that it has none."""


class Batch(NamedTuple):
    """Frames of one segment that go to the log together, from byte ``start`` to ``end``. ``doubtful``: it may have them."""

    segment: Segment
    frames: tuple[Frame, ...]
    start: int
    end: int
    doubtful: bool


class Journal:
    """Safe for threads: any writes, one forwards, one syncs."""

    def __init__(self, folder: Path, lock: int, segment_bytes: int) -> None:
        self.folder, self._lock, self._size = folder, lock, segment_bytes
        self._mark = MarkFile(folder)
        self._segments: list[Segment] = []
        self._spare: Segment | None = None
        self._guard = threading.Lock()
        self._files = threading.Lock()  # held while a file is synced, or let go of
        self._rest_until = float("-inf")
        self._next = 0
        self._doubt = self._away = (-1, 0)
        self.rows = 0
        """Receipts that wait to be forwarded."""
        self.since: dict[str, int] = {}
        """Where the topics of the log were when the last batch went on its way."""

    @classmethod
    def begin(cls, root: Path, segment_bytes: int) -> "Journal":
        """A new journal with its first segment, if the disk has room for it."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = new_id(_PREFIX)
        hidden = root / f".{name}"  # nobody may take it for left over before it is locked
        hidden.mkdir(mode=0o700)
        lock = _locked(hidden)
        assert lock is not None
        hidden.rename(root / name)
        journal = cls(root / name, lock, segment_bytes)
        with suppress(OSError):
            journal._segments.append(journal._fresh(segment_bytes))
        return journal

    @classmethod
    def left(cls, root: Path, segment_bytes: int) -> "list[Journal]":
        """The journals of processes that are no more, now ours. Theirs that live are left alone."""
        found: list[Journal] = []
        for folder in sorted(root.glob(f"{_PREFIX}_*")):
            lock = _locked(folder)
            if lock is None:
                continue
            try:
                journal = cls(folder, lock, segment_bytes)
                journal._recover()
            except OSError as error:  # it is looked at again
                os.close(lock)
                _log.error("%s cannot be taken over now: %s", folder, error)
                continue
            found.append(journal)
        return found

    def write(self, model: bytes, rows: int, at_ms: int, payload: bytes | memoryview) -> bool:
        """Keep receipts; ``False`` when there is no room for them on the disk."""
        with self._guard:
            if not (self._segments and self._segments[-1].write(model, rows, at_ms, payload)):
                segment = self._another(HEAD + len(model) + len(payload))
                if segment is None or not segment.write(model, rows, at_ms, payload):
                    return False
            self.rows += rows
        return True

    @property
    def bytes(self) -> int:
        """Bytes that wait to be forwarded."""
        waiting = 0
        for each in (*self._segments,):
            waiting += each.written - each.forwarded
        return waiting

    def blocked(self) -> bool:
        """Whether the disk had no room a moment ago."""
        return self._rest_until > 0 and time.monotonic() < self._rest_until

    def batches(self, most_rows: int, most_bytes: int) -> Iterator[Batch | tuple[Segment, Damage]]:
        """What waits, oldest first, in batches of about so many rows and bytes. Each must be `done` before the next."""
        while (segment := self._oldest()) is not None:
            yield from _gathered(segment, self._doubt, most_rows, most_bytes)
            if segment.forwarded < segment.written or not self._retire(segment):
                return

    def depart(self, batch: Batch, since: dict[str, int]) -> None:
        """Note that a batch is on its way into the log, whose topics are at ``since`` or beyond."""
        self.since, self._away = since, (batch.segment.number, batch.start)
        self._mark.write(batch.segment.number, batch.start, batch.end, since)

    def away(self, batch: Batch) -> bool:
        """Whether a batch has gone on its way already."""
        return self._away == (batch.segment.number, batch.start)

    def done(self, segment: Segment, upto: int, rows: int) -> None:
        """The bytes of a segment before ``upto`` need no forwarding any more."""
        segment.done(upto)
        with self._guard:
            self.rows -= rows

    def rest(self) -> None:
        """Note that nothing is on its way."""
        segment = self._oldest()
        if segment is not None:
            self._mark.write(segment.number, segment.forwarded, segment.forwarded, self.since)

    def set_aside(self, segment: Segment, damage: Damage) -> None:
        """Keep damaged bytes where somebody can look at them."""
        folder = self.folder.parent / _DAMAGED
        path = folder / f"{self.folder.name}-{segment.number}-{damage.start}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(segment.found[damage.start : damage.end])
        except OSError as error:
            _log.error("%s could not be written: what it was to hold is gone: %s", path, error)

    def sync(self) -> None:
        """Bring to the disk what neither it nor the log has."""
        for segment in list(self._segments):
            with self._files:
                if segment.synced < segment.written and segment.forwarded < segment.written:
                    segment.sync()

    def oldest_ms(self) -> int | None:
        """When the oldest receipt that waits was written."""
        segment = self._oldest()
        if segment is None or segment.forwarded == segment.written:
            return None
        try:
            frame = frame_at(segment.found, segment.forwarded, segment.written, segment.seed)
        except ValueError:  # it was forwarded and let go of meanwhile
            return None
        return None if frame is None else frame.at_ms

    def close(self) -> None:
        """Let go of the folder, and take it away when nothing in it waits."""
        empty = not any(each.forwarded < each.written for each in self._segments)
        for segment in [*self._segments, *([self._spare] if self._spare else [])]:
            if not empty:
                segment.sync()
            segment.close()
        self._mark.close()
        if empty:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _oldest(self) -> Segment | None:
        with self._guard:
            return self._segments[0] if self._segments else None

    def _another(self, size: int) -> Segment | None:
        """Another segment to write to, of at least ``size`` bytes; ``None`` when the disk has no room."""
        if self.blocked():
            return None
        try:
            segment = self._used_again(size) or self._fresh(max(self._size, size))
        except OSError as error:
            self._rest(error)
            return None
        if self._segments:
            self._segments[-1].read_from_now_on()
        self._segments.append(segment)
        return segment

    def _rest(self, error: OSError) -> None:
        now = time.monotonic()
        if now > self._rest_until + _QUIET_S:
            _log.error("%s has no room for receipts: %s", self.folder, error.strerror)
        self._rest_until = now + _REST_S

    def _used_again(self, size: int) -> Segment | None:
        """The spare segment, or the last one if all of it was forwarded: there need be no room for another one."""
        last = self._segments[-1] if self._segments else None
        if self._spare is not None and self._spare.size >= size:
            segment, self._spare = self._spare, None
        elif last is not None and last.forwarded == last.written and last.size >= size:
            segment = self._segments.pop()
            segment.clear()
        else:
            return None
        self._next += 1  # numbers rise in the order in which segments are written
        segment.renumber(self._next)
        return segment

    def _fresh(self, size: int) -> Segment:
        self._next += 1
        return Segment.make(self.folder, self._next, size)

    def _retire(self, segment: Segment) -> bool:
        """A segment that was forwarded whole: the last one is written on (``False``), one is kept for later, others go."""
        with self._guard:
            if segment is self._segments[-1]:
                return False
            self._segments.remove(segment)
            wanted = self._spare is None and segment.size == self._size
        with self._files:
            if wanted:
                segment.clear()
                self._spare = segment
            else:
                segment.remove()
        return True

    def _recover(self) -> None:
        mark = self._mark.read()
        self.since = mark.since
        for path in Segment.paths(self.folder):
            segment = Segment.open(path)
            if segment is None or segment.number < mark.number:
                path.unlink() if segment is None else segment.remove()
                continue
            if segment.number == mark.number:
                segment.forwarded = mark.done
            found = list(segment.waiting())
            segment.written = segment.synced = found[-1].end if found else segment.forwarded
            self.rows += sum(each.rows for each in found if isinstance(each, Frame))
            self._segments.append(segment)
        self._doubt = (mark.number, mark.flight) if mark.boot == boot() else _ALL


def _gathered(
    segment: Segment, doubt: tuple[int, int], most_rows: int, most_bytes: int
) -> Iterator[Batch | tuple[Segment, Damage]]:
    """The batches of one segment, and its damages where they lie. What is in doubt makes batches of its own."""
    gathered, rows, doubtful = list[Frame](), 0, False

    def batch() -> Batch:
        return Batch(segment, tuple(gathered), gathered[0].start, gathered[-1].end, doubtful)

    for each in segment.waiting():
        if isinstance(each, Damage):
            if gathered:
                yield batch()
                gathered, rows = [], 0
            yield segment, each
            continue
        doubted = (segment.number, each.start) < doubt
        full = rows + each.rows > most_rows or (gathered and each.end - gathered[0].start > most_bytes)
        if gathered and (full or doubted is not doubtful):
            yield batch()
            gathered, rows = [], 0
        gathered.append(each)
        rows, doubtful = rows + each.rows, doubted
    if gathered:
        yield batch()


def _locked(folder: Path) -> int | None:
    """The lock of a journal's folder; ``None`` when a living process has it, or the folder is gone."""
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return None
    if not folder.exists():  # it was taken away between the two
        os.close(handle)
        return None
    return handle
