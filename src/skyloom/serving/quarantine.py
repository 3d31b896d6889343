"""Models that crash the process that serves them: named after its death, and asked no more after the third time.

While a model is asked, its name stands in a file that is mapped into memory, and so survives the process. Next to it lies
what the fatal signal said (`faulthandler`): a process that was ended from outside, by SIGKILL too, has said nothing, and
nobody is blamed. The process that is started next reads both and keeps the count in ``crashes.json``. To forgive a model,
delete its entry there; other versions of it are not concerned.
"""

import faulthandler
import fcntl
import logging
import mmap
import os
import re
import signal
import struct
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import msgspec

from skyloom.kernel.errors import PackageError
from skyloom.kernel.ids import new_id

if TYPE_CHECKING:
    from skyloom.kernel.clock import Clock

_log = logging.getLogger("skyloom.serving")

CRASHES = "crashes.json"
MOST_CRASHES = 3
WITHIN_MS = 86_400_000
"""So many crashes within a day are enough."""

_SLOT = struct.Struct("<QQ64s48s")  # 0: free, 1: asked, 2: being loaded; the thread; the package's digest; the model
_SLOTS = 256
_LOOK_S = 0.2
_LOOP_S = 5.0
"""How long the event loop may be held by one answer: it never should be, and nobody is answered meanwhile."""
_THREAD = re.compile(r"Current thread (0x[0-9a-f]+)")
_FATAL = re.compile(r"Fatal Python error: (.+)")


class Quarantined(PackageError):
    """A package that is not even loaded any more."""


class Crash(msgspec.Struct, frozen=True):
    """One death of a process: when, of what, and what it did with the package."""

    at_ms: int
    how: str
    doing: Literal["answering", "loading"]


class Crashed(msgspec.Struct, frozen=True):
    """What a package has done."""

    model: str
    crashes: tuple[Crash, ...]

    @property
    def reason(self) -> str:
        """Why it is not asked any more; empty when it is."""
        last = self.crashes[-MOST_CRASHES:]
        if len(last) < MOST_CRASHES or last[-1].at_ms - last[0].at_ms > WITHIN_MS:
            return ""
        return f"quarantined: it ended the process {MOST_CRASHES} times within a day, last by {last[-1].how!r}"


class Guard:
    """Stands around one package: entered while the package is asked, by as many threads as like."""

    def __init__(self, quarantine: "Quarantine", digest: str, model: str) -> None:
        self._quarantine, self._digest = quarantine, digest
        self._asked = digest.encode(), model.encode()
        self.begin = partial(quarantine.begin, 1, *self._asked)
        """As to enter it and, `end`, to leave it, for who asks with every request."""
        self.end = quarantine.end

    @property
    def reason(self) -> str:
        """Why the package is not asked any more; empty when it is."""
        found = self._quarantine.crashed.get(self._digest)
        return "" if found is None else found.reason

    def __enter__(self) -> None:
        self._quarantine.begin(1, *self._asked)

    def __exit__(self, *_: object) -> None:
        self._quarantine.end()

    @contextmanager
    def loading(self) -> Generator[None]:
        """As entering it, around the loading of the package. Raises `Quarantined` when it is that for this."""
        found = self._quarantine.crashed.get(self._digest)
        if found and found.reason and any(each.doing == "loading" for each in found.crashes):
            raise Quarantined(f"{found.model} is {found.reason}, while it was loaded")
        self._quarantine.begin(2, *self._asked)
        try:
            yield
        finally:
            self._quarantine.end()


class Quarantine:
    """What has crashed, from a folder, and what is being asked by this process, in it. Without a folder nothing is kept.

    ``stuck_s`` is how long an answer may take before the process is ended (SIGABRT) as by a crash of that model.
    """

    def __init__(self, folder: Path | None, clock: "Clock", stuck_s: float) -> None:
        self._folder, self._clock, self._stuck_s = folder, clock, stuck_s
        self.crashed: dict[str, Crashed] = {}
        self._seen: tuple[int, int] = (0, 0)
        self._since = [0.0] * _SLOTS
        self._free = count()
        self._mine = threading.local()
        self._files: tuple[BinaryIO, ...] = ()
        self._memory = self._mapped()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="quarantine", daemon=True)

    def start(self) -> None:
        """Begin to note fatal signals, to look after what others count, and after answers that do not end."""
        if self._files:
            faulthandler.enable(self._files[1])
        self._thread.start()

    def close(self) -> None:
        """Leave nothing behind: this process ends as it should, or asks no more."""
        self._ended.set()
        if self._files:
            faulthandler.disable()
        for file in self._files:
            Path(file.name).unlink(missing_ok=True)
            file.close()

    def guard(self, digest: str, model: str) -> Guard:
        """What stands around a package."""
        return Guard(self, digest, model)

    def begin(self, state: int, digest: bytes, model: bytes) -> None:
        """This thread asks (1) or loads (2) a package from now on."""
        try:
            seat = self._mine.seat
        except AttributeError:
            seat = self._mine.seat = _Seat(next(self._free))
        if seat.slot >= _SLOTS:
            return
        self._since[seat.slot] = time.monotonic()
        if seat.digest is digest:
            self._memory[seat.at] = state  # the rest says so still
        else:
            seat.digest = digest
            _SLOT.pack_into(self._memory, seat.at, state, threading.get_ident(), digest, model)

    def end(self) -> None:
        """This thread does so no more."""
        seat = self._mine.seat
        if seat.slot < _SLOTS:
            self._memory[seat.at] = 0

    def _mapped(self) -> mmap.mmap:
        """The memory in which this process says what it asks: in a file that it holds a lock on as long as it lives."""
        size = _SLOTS * _SLOT.size
        if self._folder is None:
            return mmap.mmap(-1, size)
        try:
            return self._shared(self._folder, size)
        except OSError as error:
            _log.error("crashes are counted nowhere: %s cannot be written (%s)", self._folder, error.strerror)
            self._folder, self._files = None, ()
            return mmap.mmap(-1, size)

    def _shared(self, folder: Path, size: int) -> mmap.mmap:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            self._bury()
            name = f"{os.getpid()}-{new_id('s')}"
            asking = (folder / f"asking-{name}").open("w+b")
            fcntl.flock(asking, fcntl.LOCK_EX)
            os.posix_fallocate(asking.fileno(), 0, size)  # on a disk without room, writing to a hole would end the process
            self._files = asking, (folder / f"said-{name}").open("wb")
        self._read()
        return mmap.mmap(asking.fileno(), size)

    def _bury(self) -> None:
        """Take what the dead have left, and count their crashes."""
        assert self._folder is not None
        found = _crashes(self._folder)
        for path in sorted(self._folder.glob("asking-*")):
            with path.open("r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # it lives
                said = self._folder / path.name.replace("asking", "said", 1)
                for digest, model, crash in _named(file.read(), _text(said), self._clock.now_ms()):
                    before = found[digest].crashes if digest in found else ()
                    found[digest] = Crashed(model, (*before, crash)[-MOST_CRASHES:])
                    _log.error("%s (%s) ended a process while %s: %s", model, digest[:12], crash.doing, crash.how)
            _write(self._folder, found)
            said.unlink(missing_ok=True)
            path.unlink()

    def _read(self) -> None:
        """Look at what all processes have counted, if that has changed."""
        assert self._folder is not None
        try:
            state = (self._folder / CRASHES).stat()
        except FileNotFoundError:
            self.crashed = {}
            return
        seen = state.st_mtime_ns, state.st_ino
        if seen != self._seen:
            self._seen, self.crashed = seen, _crashes(self._folder)

    def _watch(self) -> None:
        main = threading.main_thread().ident
        while not self._ended.wait(_LOOK_S):
            if self._folder is not None:
                self._read()
            now = time.monotonic()
            for slot in range(_SLOTS):
                state, thread, *_ = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
                longest = min(_LOOP_S, self._stuck_s) if thread == main else self._stuck_s
                if state and now - self._since[slot] > longest:
                    signal.pthread_kill(thread, signal.SIGABRT)


class _Seat:
    """The place of a thread: its slot, the byte at which that begins, and the package that it names."""

    __slots__ = ("at", "digest", "slot")

    def __init__(self, slot: int) -> None:
        self.slot, self.at, self.digest = slot, slot * _SLOT.size, b""


def _named(memory: bytes, said: str, now_ms: int) -> list[tuple[str, str, Crash]]:
    """Who is to blame for a death: the package that was asked by the thread on which the signal fell, or, where that asked
    none, all that were asked. Nobody when there was no signal of that kind."""
    fatal, thread = _FATAL.search(said), _THREAD.search(said)
    if fatal is None:
        return []
    slots = [each for each in _SLOT.iter_unpack(memory) if each[0]]
    guilty = [each for each in slots if thread and each[1] == int(thread[1], 16)] or slots
    return [
        (
            digest.rstrip(b"\0").decode(),
            model.rstrip(b"\0").decode("utf-8", "replace"),
            Crash(now_ms, fatal[1], "loading" if state == 2 else "answering"),
        )
        for state, _, digest, model in guilty
    ]


def _crashes(folder: Path) -> dict[str, Crashed]:
    try:
        return msgspec.json.decode((folder / CRASHES).read_bytes(), type=dict[str, Crashed])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        _log.error("%s cannot be read, and is begun anew: %s", folder / CRASHES, error)
        return {}


def _write(folder: Path, found: dict[str, Crashed]) -> None:
    fresh = folder / f"{CRASHES}.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    fresh.replace(folder / CRASHES)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
