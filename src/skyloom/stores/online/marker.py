"""Whether the store's file holds commits that may not be on the disk.

LMDB without a sync at every commit is fast, and leaves a file that a crash of the *machine* may damage, also the part
that was on the disk: it reuses pages as soon as newer commits do not need them. So the marker names this run of the
machine before any commit, and is cleared when all commits have been synced. A store that is opened with the mark of
another run is emptied: what is in it is derived, the positions in it are gone as well, and whoever folds the log into
it begins anew. In short: a durable commit survives the machine, unless others that were not durable have followed it.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from skyloom.stores.files import private_folder, sync_folder, writable

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAME = "unsynced"
_SIZE = 36
_CLEAR = b"-" * _SIZE


class Marker:
    """The marker of the store in ``folder``. Set and clear it only while holding the store's writer lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boot = this_boot()
        self._file = os.open(folder / _NAME, os.O_RDWR | os.O_CLOEXEC)

    def set(self) -> None:
        """Say that commits may not be on the disk. Costs a sync when it was not said."""
        self._say(self._boot)

    def clear(self) -> None:
        """Say that all commits are on the disk."""
        self._say(_CLEAR)

    def _say(self, text: bytes) -> None:
        with writable(self._folder):
            if os.pread(self._file, _SIZE, 0) != text:
                os.pwrite(self._file, text, 0)
                os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def this_boot() -> bytes:
    """What tells this run of the machine from another."""
    return _BOOT.read_bytes()[:_SIZE]


@contextmanager
def sound_folder(folder: Path) -> Generator[None]:
    """The folder with a marker, emptied if its marker is of another run of the machine.

    The block makes the store, on the disk; others who open it wait.
    """
    private_folder(folder)
    lock = os.open(folder / "opening", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = folder / _NAME
        sound = marker.exists() and marker.read_bytes() in (_CLEAR, this_boot())
        if not sound:
            for name in ("data.mdb", "lock.mdb"):
                (folder / name).unlink(missing_ok=True)
            _write(marker, this_boot())
        yield
        if not sound:
            _write(marker, _CLEAR)
    finally:
        os.close(lock)


def _write(marker: Path, text: bytes) -> None:
    with marker.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    marker.chmod(0o600)
    sync_folder(marker.parent)
