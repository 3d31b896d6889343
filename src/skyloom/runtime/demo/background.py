"""`skyloom up` in the background, for as long as a block runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from skyloom.kernel.errors import SkyloomError
from skyloom.platform import Platform
from skyloom.runtime.up import Running, running

_READY_S = 60.0
_END_S = 12.0


@contextmanager
def running_up(platform: Platform, profile: str) -> Generator[Callable[[], Running]]:
    """Start the project's processes, to be ended when the block ends; what the block gets waits until they are ready."""
    log = platform.state / "up.log"
    process = _start(platform.directory, profile, log)
    try:
        yield lambda: _wait(platform, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start(directory: Path, profile: str, log: Path) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "skyloom.cli.main", "up", "--profile", profile]
    with log.open("wb") as output:
        return subprocess.Popen(
            words, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def _wait(platform: Platform, process: "subprocess.Popen[bytes]", log: Path) -> Running:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if b"\nready;" in log.read_bytes():
            found = running(platform)
            if found is not None:
                return found
        time.sleep(0.02)
    tail = log.read_text(errors="replace")[-2000:]
    raise SkyloomError("skyloom up did not become ready", tried=tail, fix=f"read {log}")


def own_memory_mb(pid: int) -> float:
    """The memory (proportional set size, MB) of a process and all its descendants."""
    total = 0.0
    for each in _descendants(pid):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
    return total


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in os.listdir(f"/proc/{parent}/task") if os.path.isdir(f"/proc/{parent}/task") else ():
            try:
                found += [int(child) for child in Path(f"/proc/{parent}/task/{task}/children").read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
