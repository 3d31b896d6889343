"""One life of a supervised process."""

import contextlib
import os
import subprocess

import msgspec

from skyloom.engines.local.child import PARENT_PID, READY_FD
from skyloom.engines.local.group import has_ended, kill_group


class ChildSpec(msgspec.Struct, frozen=True):
    """A process to keep alive. ``environment`` is added to ours; ``pass_fds`` are open sockets that it inherits. Who waits
    for a server that died waits ``at_once``: it is started again without a pause if it had become ready."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    pass_fds: tuple[int, ...] = ()
    directory: str | None = None
    at_once: bool = False


class ChildProcess:
    """A running child in a session of its own, so that a terminal's Ctrl-C reaches its supervisor alone.

    ``ready_fd`` becomes readable when the child calls `notify_ready` or closes it. Raises `OSError` when the program
    cannot be started.
    """

    def __init__(self, spec: ChildSpec) -> None:
        self.ready_fd, theirs = os.pipe()
        environment = {**os.environ, **spec.environment, READY_FD: str(theirs), PARENT_PID: str(os.getpid())}
        try:
            self._process = subprocess.Popen(
                spec.command,
                env=environment,
                cwd=spec.directory,
                stdin=subprocess.DEVNULL,
                pass_fds=(*spec.pass_fds, theirs),
                start_new_session=True,
            )
        except OSError:
            os.close(self.ready_fd)
            raise
        finally:
            os.close(theirs)

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        return has_ended(self.pid)

    def said_ready(self) -> bool:
        """Whether it said so; to be asked once, when ``ready_fd`` is readable."""
        return os.read(self.ready_fd, 1) != b""

    def terminate(self) -> None:
        """Ask the child to end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End the child and whatever it started."""
        kill_group(self.pid)

    def bury(self) -> str:
        """End whatever is left of the group of an ended child and reap it; how it ended, in words."""
        self.kill()
        os.close(self.ready_fd)
        code = self._process.wait()
        return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
