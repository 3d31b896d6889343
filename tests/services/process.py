"""A server as a process of ours: started on free ports, ready when it answers, ended by its own pid."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REQUIRED = "SKYLOOM_SERVICES"
"""Set to ``required``, a service that cannot be started fails its tests; otherwise it skips them, aloud."""

PATIENCE_S = 60.0


class Missing(Exception):
    """A service cannot run here. The text says why, and which command makes it run."""


class Process:
    """One running server."""

    def __init__(self, words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        # A server must not outlive a test process that was killed: the kernel sends the signal.
        bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                [*bound, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_until(self, ready: Callable[[], bool]) -> bool:
        """Ask until the server is ready; `False` when it has ended by itself."""
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            if self._popen.poll() is not None:
                return False
            if time.monotonic() > deadline:
                raise AssertionError(f"no answer for {PATIENCE_S:.0f} s:\n{self.said()}")
            time.sleep(0.01)
        return True

    def end(self, *, kill: bool = False, by: signal.Signals = signal.SIGTERM) -> None:
        """End it in order, by the signal that the server takes for that, or by `SIGKILL`."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGKILL if kill else by)
        try:
            self._popen.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2_000:]


def free_port(wanted: int = 0) -> int:
    """A port that nobody listened on a moment ago: ``wanted``, or any. Another may take it first: try a start again."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
        except OSError:
            if not wanted:
                raise
            return free_port()
        return int(listener.getsockname()[1])
