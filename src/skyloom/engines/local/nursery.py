"""A process that has imported what children need, from which they are forked: they start in a tenth of the time, and share
what they have in common."""

import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import msgspec

from skyloom.engines.local.child import PARENT_PID
from skyloom.engines.local.cradle import LONGEST, READY, Birth
from skyloom.engines.local.group import kill_group

CONTROL_FD = "SKYLOOM_NURSERY_FD"
PATIENCE_S = 60.0
"""How long it may take until it is ready; those who wait for it are started without it then."""
_ANSWERS_WITHIN_S = 2.0
_LIVED_S = 10.0
_TITLE = 1_024
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class NurseryGone(Exception):
    """The nursery cannot bear now: it has ended, or does not answer."""


class Nursery:
    """A nursery at work. ``command`` is a program that calls `attend`. For one thread; only where there is Linux.

    Whoever makes one becomes a subreaper: orphans among its descendants are its own to reap.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        _become_subreaper()
        self._began, self._lived_s, self.is_ready, self.is_gone = time.monotonic(), 0.0, False, False
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        added = {CONTROL_FD: str(theirs.fileno()), PARENT_PID: str(os.getpid())}
        with theirs:
            self._process = subprocess.Popen(
                [*command, " " * _TITLE],  # room for the words of its children
                env={**os.environ, **environment, **added},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def deadline(self) -> float:
        """Until when it is waited for: the past, once it is ready or gone."""
        return 0.0 if self.is_ready or self.is_gone else self._began + PATIENCE_S

    @property
    def has_lived(self) -> bool:
        """Whether it is gone after a life that gives hope for another one."""
        return self._lived_s > _LIVED_S

    def hear(self) -> None:
        """To be called when ``control`` is readable: it is ready, or gone."""
        if self.control.recv(len(READY)) == READY:
            self.is_ready = True
        else:
            self.close()

    def bear(self, birth: Birth, descriptors: Sequence[int]) -> int:
        """The number of a new child of this process. Raises `NurseryGone`, and `OSError` when there can be no process."""
        content = msgspec.msgpack.encode(birth)
        if not self.is_ready or self.is_gone or len(content) > LONGEST:
            raise NurseryGone
        try:
            self.control.settimeout(_ANSWERS_WITHIN_S)
            socket.send_fds(self.control, [content], list(descriptors))
            answer = self.control.recv(32)
        except OSError as error:
            self.close()
            raise NurseryGone from error
        if not answer:
            self.close()
            raise NurseryGone
        if answer == b"0":
            raise OSError("the nursery could not fork")
        return int(answer)

    def close(self) -> None:
        """End it; its children live on."""
        if not self.is_gone:
            self.is_gone, self._lived_s = True, time.monotonic() - self._began
            self.control.close()
            kill_group(self._process.pid)
            self._process.wait()


def attended() -> socket.socket | None:
    """In the nursery's own process: where it hears of children to be born; ``None`` for who was started without one."""
    descriptor = os.environ.pop(CONTROL_FD, None)
    return None if descriptor is None else socket.socket(fileno=int(descriptor))


def _become_subreaper() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux" or libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no nursery without a subreaper")
