"""Who does the stream work of a project: the processes of `skyloom up`, or a command by itself; the others ask."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Generator

from skyloom.kernel.errors import Transient
from skyloom.kernel.ids import new_id
from skyloom.kernel.records.definitions import ProjectDef
from skyloom.platform import Platform
from skyloom.runtime.worker import Worker, require_same_log, shards_of

_SPACE, _ASKED = "control", b"flush/asked"
_PATIENCE_S = 60.0


@contextlib.contextmanager
def owning(platform: Platform, *, shared: bool = False) -> Generator[bool]:
    """Whether this process may do the project's stream work for as long as the block runs, on this machine alone, or
    ``shared`` with others that share it (the lock is the kernel's)."""
    path = platform.state / "worker.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def settle(platform: Platform, project: ProjectDef) -> None:
    """Return when everything that is in the log now is folded, joined and in the lake.

    Does the work itself when nobody owns it, and asks the owners otherwise. Raises `Transient` when they do not answer
    within a minute, and `DataError` where lake or online store followed another log.
    """
    shards, deadline = shards_of(platform.log, project), time.monotonic() + _PATIENCE_S
    rounds = [b""] * (1 if shards == 1 else 2)  # a group is taken over when the builders of all shards are done
    while time.monotonic() < deadline:
        with owning(platform) as mine:
            if mine:
                require_same_log(platform)
                worker = Worker(platform, project)
                worker.drain()
                worker.release()
                return
        asked = rounds[-1] = rounds[-1] or _ask(platform)
        with platform.online.read() as view:
            if all(view.get(_SPACE, _done(shard)) == asked for shard in range(shards)):
                rounds.pop()
        if not rounds:
            return
        time.sleep(0.005)
    raise Transient("the stream worker did not answer for a minute", tried="asked it to flush", fix="skyloom doctor")


def _ask(platform: Platform) -> bytes:
    asked = new_id("flush").encode()
    with platform.online.write(durable=False) as writer:
        writer.put(_SPACE, _ASKED, asked)
    return asked


def answer(
    platform: Platform, worker: Worker, last: bytes | None, between: Callable[[], None] = lambda: None
) -> bytes | None:
    """The owner's side of `settle`: drain and flush when somebody asked since ``last``; the newest asking. ``between`` is
    called after each step of it."""
    with platform.online.read() as view:
        asked = view.get(_SPACE, _ASKED)
    if asked is not None and asked != last:
        worker.drain(between)
        if worker.wants_all:
            return last
        with platform.online.write(durable=False) as writer:
            for shard in worker.shards:
                writer.put(_SPACE, _done(shard), asked)
    return asked


def _done(shard: int) -> bytes:
    return b"flush/done/%d" % shard
