"""The lock of a project: one `skyloom up` at a time."""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path

import msgspec

from skyloom.kernel.errors import Refused

LOCK_FILE = Path(".skyloom", "up.lock")
_TRIES = 20


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock: process id and start, in milliseconds since 1970 (UTC)."""

    pid: int
    started_ms: int


@contextlib.contextmanager
def hold_project(directory: Path) -> Generator[None]:
    """Hold the lock of the project in ``directory`` for as long as the block runs.

    The lock is the kernel's: it goes with the process, however that ends, and children do not inherit it.
    Raises `Refused` when another process holds it, naming that process.
    """
    path = directory / LOCK_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, path)
        content = msgspec.json.encode(Holder(os.getpid(), time.time_ns() // 1_000_000))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
        yield
    finally:
        os.close(descriptor)


def project_holder(directory: Path) -> Holder | None:
    """Who holds the lock of the project in ``directory`` now, or ``None``. Asking never gets in the way of a holder.

    >>> project_holder(Path("/nowhere")) is None
    True
    """
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _acquire(descriptor: int, path: Path) -> None:
    """Lock, or say who has locked. Between locking and writing, a holder's name is briefly that of one who has gone."""
    for attempt in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _holder(descriptor)
            if holder is not None:
                raise _refused(holder.pid, path) from None
            if attempt < _TRIES - 1:
                time.sleep(0.02)
    raise _refused(None, path)


def _holder(descriptor: int) -> Holder | None:
    """The living process whose name stands in the file."""
    try:
        holder = msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Holder)
        with contextlib.suppress(PermissionError):  # alive, and another user's
            os.kill(holder.pid, 0)
    except (msgspec.DecodeError, ProcessLookupError):
        return None
    return holder


def _refused(pid: int | None, path: Path) -> Refused:
    who = f"process {pid}" if pid else "a process that left no name"
    return Refused(
        f"skyloom up already runs here, as {who}",
        tried=f"lock {path}",
        fix=f"kill {pid}" if pid else f"fuser {path}",
    )
