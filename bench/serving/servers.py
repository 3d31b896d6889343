"""Servers on core 0, whoever made them, started and ended alike."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.processes import memory_mb, worked_s

ROOT = Path(__file__).resolve().parent.parent.parent
SERVER_CORE, CLIENT_CORE = 0, 1
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1"
)


class Server(NamedTuple):
    """A server that answers; ``ready_s`` is how long that took from its start."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    ready_s: float

    @property
    def mb(self) -> float:
        """The memory of its processes: a shared page is counted once."""
        return memory_mb(self.process.pid)

    @property
    def worked_s(self) -> float:
        """The processor time that its processes have taken so far, in seconds."""
        return worked_s(self.process.pid)


def pin_client() -> None:
    """Put this process on the core of the load generator. Raises `RuntimeError` where there is but one."""
    if (os.cpu_count() or 1) < 2:
        raise RuntimeError("servers and their load need a core each, and this machine has one")
    os.sched_setaffinity(0, {CLIENT_CORE})


@contextmanager
def on_core(core: int) -> Generator[None]:
    """What is started in the block runs on that core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def served(
    name: str,
    words: Sequence[str],
    port: int,
    answers: Callable[[], object],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path,
    patience_s: float = 60.0,
) -> Generator[Server]:
    """A server on core 0 whose ``answers`` no longer raises when the block begins; its whole group is ended afterwards.

    Raises `RuntimeError` with the end of what it said when it does not come to answer.
    """
    begun = time.perf_counter()
    with log.open("wb") as out, on_core(SERVER_CORE):
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env={**os.environ, **ONE_THREAD, **(environment or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        _wait(name, process, answers, begun + patience_s, log)
        yield Server(name, port, process, time.perf_counter() - begun)
    finally:
        _end(process)


def _wait(name: str, process: "subprocess.Popen[bytes]", answers: Callable[[], object], until: float, log: Path) -> None:
    while True:
        try:
            answers()
            return
        except (OSError, RuntimeError, ValueError) as error:
            if process.poll() is not None or time.perf_counter() > until:
                said = log.read_text(errors="replace")[-700:]
                raise RuntimeError(f"{name} does not answer ({error}): {said}") from error
        time.sleep(0.01)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End its group: politely, then not."""
    for how, patience_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, how)
            process.wait(patience_s)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
    # what the leader left behind in its group
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
