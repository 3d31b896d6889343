"""Who does the stream work of a project: one process at a time, and the others ask it."""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator

from skyloom.kernel.errors import Transient
from skyloom.kernel.ids import new_id
from skyloom.kernel.records.definitions import ProjectDef
from skyloom.platform import Platform
from skyloom.runtime.worker import Worker, require_same_log

_SPACE, _ASKED, _DONE = "control", b"flush/asked", b"flush/done"
_PATIENCE_S = 60.0


@contextlib.contextmanager
def owning(platform: Platform) -> Generator[bool]:
    """Whether this process owns the project's stream work for as long as the block runs (the lock is the kernel's)."""
    path = platform.state / "worker.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def settle(platform: Platform, project: ProjectDef) -> None:
    """Return when everything that is in the log now is folded, joined and in the lake.

    Does the work itself when nobody owns it, and asks the owner otherwise. Raises `Transient` when the owner does not
    answer within a minute, and `DataError` where lake or online store followed another log.
    """
    asked: bytes | None = None
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with owning(platform) as mine:
            if mine:
                require_same_log(platform)
                Worker(platform, project).drain()
                return
        asked = asked or _ask(platform)
        with platform.online.read() as view:
            if view.get(_SPACE, _DONE) == asked:
                return
        time.sleep(0.005)
    raise Transient("the stream worker did not answer for a minute", tried="asked it to flush", fix="skyloom doctor")


def _ask(platform: Platform) -> bytes:
    asked = new_id("flush").encode()
    with platform.online.write(durable=False) as writer:
        writer.put(_SPACE, _ASKED, asked)
    return asked


def answer(platform: Platform, worker: Worker, last: bytes | None) -> bytes | None:
    """The owner's side of `settle`: drain and flush when somebody asked since ``last``; the newest asking."""
    with platform.online.read() as view:
        asked = view.get(_SPACE, _ASKED)
    if asked is not None and asked != last:
        worker.drain()
        with platform.online.write(durable=False) as writer:
            writer.put(_SPACE, _DONE, asked)
    return asked
