"""Jobs as subprocesses of this one."""

import codecs
import os
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, cast

from skyloom.engines.local.child import PARENT_PID
from skyloom.engines.local.group import kill_group
from skyloom.kernel.errors import NotFound, Transient
from skyloom.ports.compute import Compute, Job, JobResult

KEPT_CHARACTERS = 256 * 1024
_READ = 65_536


class SubprocessCompute:
    """Runs each job in a session and process group of its own, which is ended as a whole.

    A job whose timeout passes ends with exit code -9, and its output says so. What a job left running in its group is
    killed when its main process ends. The last lines of the output (both streams), at most 256 Ki characters, are kept;
    ``on_line`` hears every line. A job that calls `tie_to_parent` also dies when the caller is killed.
    Raises `NotFound` for a program that is not there, `Transient` when no process can be started now.

    >>> SubprocessCompute().run(Job("greet", ("echo", "hello"))).output
    'hello\\n'
    """

    def run(self, job: Job, on_line: Callable[[str], None] | None = None) -> JobResult:
        started = time.monotonic()
        process = _start(job)
        pipe = cast("IO[bytes]", process.stdout)
        output = _Output(on_line)
        try:
            timed_out = _follow(
                process.pid, pipe.fileno(), output, None if job.timeout_s is None else started + job.timeout_s
            )
        finally:
            kill_group(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            pipe.close()
        if timed_out:
            output.line(f"[ended: the timeout of {job.timeout_s:g} s has passed]\n")
        return JobResult(process.returncode, output.text, usage.ru_utime + usage.ru_stime)


def _start(job: Job) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            job.command,
            env={**os.environ, **job.environment, PARENT_PID: str(os.getpid())},
            cwd=job.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise NotFound(f"job {job.name} cannot be started: {error}", tried=" ".join(job.command)) from error
    except OSError as error:
        raise Transient(f"no process for job {job.name} now: {error}", tried=" ".join(job.command)) from error


def _follow(pid: int, pipe: int, output: "_Output", deadline: float | None) -> bool:
    """Read what the job says until its main process has ended; whether its time ran out."""
    os.set_blocking(pipe, False)
    ended = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while True:
                timeout = None if deadline is None else deadline - time.monotonic()
                if timeout is not None and timeout <= 0:
                    kill_group(pid)
                    output.drain(pipe)
                    return True
                ready = {key.fd for key, _ in selector.select(timeout)}
                if ended in ready:
                    kill_group(pid)
                    output.drain(pipe)
                    return False
                if pipe in ready and output.read(pipe) == 0:
                    selector.unregister(pipe)
    finally:
        os.close(ended)
        output.finish()


class _Output:
    """The text of a job, line by line, of which the end is kept."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._on_line = on_line
        self._rest = ""
        self._lines: deque[str] = deque()
        self._kept = 0

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def read(self, pipe: int) -> int | None:
        """Take what is there now; the number of bytes: 0 at the end of the stream, ``None`` when there is nothing yet."""
        try:
            content = os.read(pipe, _READ)
        except BlockingIOError:
            return None
        *lines, self._rest = (self._rest + self._decoder.decode(content)).split("\n")
        for line in lines:
            self.line(line + "\n")
        if len(self._rest) >= _READ:  # a line without end is handed on in pieces
            self.finish()
        return len(content)

    def drain(self, pipe: int) -> None:
        """Take all that is there now; a process that left the group may hold the stream open for ever."""
        while self.read(pipe):
            pass

    def finish(self) -> None:
        """The last line, when it has no end."""
        if self._rest:
            self.line(self._rest)
            self._rest = ""

    def line(self, line: str) -> None:
        self._lines.append(line)
        self._kept += len(line)
        while self._kept > KEPT_CHARACTERS:
            self._kept -= len(self._lines.popleft())
        if self._on_line:
            self._on_line(line.rstrip("\n"))


if TYPE_CHECKING:
    _conforms: Compute = SubprocessCompute()
