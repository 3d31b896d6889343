"""One life of a supervised process."""

import contextlib
import os
import signal
import subprocess

import msgspec

from skyloom.engines.local.child import PARENT_PID, READY_FD
from skyloom.engines.local.cradle import Birth
from skyloom.engines.local.group import has_ended, kill_group
from skyloom.engines.local.nursery import Nursery, NurseryGone


class ChildSpec(msgspec.Struct, frozen=True):
    """A process to keep alive. ``environment`` is added to ours; ``pass_fds`` are open sockets that it inherits. Who waits
        for a server that died waits ``at_once``: it is started again without a pause if it had become ready. A child may be
    ``forked`` from a nursery, if its command is ``PROGRAM -m MODULE ...`` and the module has a ``main``."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    pass_fds: tuple[int, ...] = ()
    directory: str | None = None
    at_once: bool = False
    forked: bool = False


class ChildProcess:
    """A running child in a session of its own, so that a terminal's Ctrl-C reaches its supervisor alone.

    ``ready_fd`` becomes readable when the child calls `notify_ready` or closes it. Raises `OSError` when the program
    cannot be started.
    """

    def __init__(self, spec: ChildSpec, nursery: Nursery | None = None) -> None:
        self.ready_fd, theirs = os.pipe()
        environment = {**os.environ, **spec.environment, READY_FD: str(theirs), PARENT_PID: str(os.getpid())}
        try:
            pid = _forked(spec, nursery, environment, theirs) if nursery and spec.forked else None
            self._process = _executed(spec, environment, theirs) if pid is None else None
            self.pid: int = self._process.pid if self._process else pid or 0
        except OSError:
            os.close(self.ready_fd)
            raise
        finally:
            os.close(theirs)

    def has_ended(self) -> bool:
        return has_ended(self.pid)

    def said_ready(self) -> bool:
        """Whether it said so; to be asked once, when ``ready_fd`` is readable."""
        return os.read(self.ready_fd, 1) != b""

    def terminate(self) -> None:
        """Ask the child to end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the child and whatever it started."""
        kill_group(self.pid)

    def bury(self) -> str:
        """End whatever is left of the group of an ended child and reap it; how it ended, in words."""
        self.kill()
        os.close(self.ready_fd)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if self._process is not None:
            self._process.returncode = code
        return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _executed(spec: ChildSpec, environment: dict[str, str], theirs: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        spec.command,
        env=environment,
        cwd=spec.directory,
        stdin=subprocess.DEVNULL,
        pass_fds=(*spec.pass_fds, theirs),
        start_new_session=True,
    )


def _forked(spec: ChildSpec, nursery: Nursery, environment: dict[str, str], theirs: int) -> int | None:
    """The number of the child, or ``None`` when there is no nursery any more: a command does as well, and takes longer."""
    descriptors = (*spec.pass_fds, theirs)
    try:
        return nursery.bear(Birth(spec.command, environment, spec.directory, descriptors), descriptors)
    except NurseryGone:
        return None
