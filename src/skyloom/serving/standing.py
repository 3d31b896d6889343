"""Where each serving process of this machine stands with its release: a small file, locked as long as the process lives."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from skyloom.kernel.ids import new_id

PROCESSES = "processes"
_READ = 65_536


class Standing(msgspec.Struct, frozen=True):
    """What a process obeys since when (``release`` is empty before the first), and what keeps it from something newer.

    ``refused`` is the id of a release that it does not obey, and ``why``. ``trouble`` says what is wrong with the object
    store; ``from_copy``: the local copy serves since this process started, and the store has not confirmed it. ``copied`` is
    whether a process could start without the store.
    """

    pid: int
    at_ms: int
    number: int | None = None
    release: str = ""
    from_copy: bool = False
    copied: bool = False
    refused: str = ""
    why: str = ""
    trouble: str = ""


class StandingFile:
    """One process's own file. A disk without room costs the file's truth, nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._handle = folder, -1
        self._told: Standing | None = None

    def tell(self, standing: Standing) -> None:
        """Write it down, if there is any news."""
        if self._told is not None and msgspec.structs.replace(standing, at_ms=self._told.at_ms) == self._told:
            return
        content = msgspec.json.encode(standing)
        with suppress(OSError):
            if self._handle < 0:
                self._handle = self._begin()
            os.pwrite(self._handle, content, 0)
            os.ftruncate(self._handle, len(content))
            self._told = standing

    def close(self) -> None:
        """Stand nowhere any more; so does a process that ends."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _begin(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = new_id("serving")
        hidden = self._folder / f".{name}"  # nobody may take it for left over before it is locked
        handle = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        hidden.rename(self._folder / f"{name}.json")
        return handle


def standings(folder: Path) -> list[Standing]:
    """Where every process stands that lives now, the oldest first. Files of others are removed."""
    found = [_standing(path) for path in sorted(folder.glob("*.json"))]
    return [each for each in found if each is not None]


def _standing(path: Path) -> Standing | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            return None
        return _read(handle)
    finally:
        os.close(handle)


def _read(handle: int) -> Standing | None:
    for _ in range(3):  # a look may fall into a change
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(os.pread(handle, _READ, 0), type=Standing)
    return None
