"""Starting what is measured, and the memory of everything that it starts."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SKYLOOM = str(Path(sys.executable).with_name("skyloom"))


def seconds(*words: str, cwd: Path | None = None, timeout: float = 60.0) -> float:
    """How long a command takes, from its start to its end. Raises `RuntimeError` when it fails."""
    begun = time.perf_counter()
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=timeout)
    took = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with exit code {done.returncode}: {done.stderr[-500:]}")
    return took


def memory_mb(pid: int) -> float:
    """The memory of a process and its descendants in MB (proportional set size: a shared page is counted once)."""
    return sum(_pss_kb(each) for each in family(pid)) / 1024


def worked_s(pid: int) -> float:
    """The processor time that a process and its descendants have taken so far, in seconds (of those that still run)."""
    return sum(_ran_ns(each) for each in family(pid)) / 1e9


@contextmanager
def ended_after(process: "subprocess.Popen[str]") -> Generator["subprocess.Popen[str]"]:
    """The process for as long as the block runs; then it is asked to end, and killed when it does not."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Peak:
    """The greatest memory of a process and its descendants, looked at four times a second."""

    def __init__(self, pid: int) -> None:
        self.mb = 0.0
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> float:
        """Stop looking; the greatest memory in MB."""
        self._ended.set()
        self._thread.join()
        return self.mb

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            self.mb = max(self.mb, memory_mb(self._pid))


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _ran_ns(pid: int) -> int:
    ran = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            ran += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    except OSError:  # it has ended meanwhile
        return ran
    return ran


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        try:
            tasks = os.listdir(f"/proc/{parent}/task")
            found += [
                int(each) for task in tasks for each in Path(f"/proc/{parent}/task/{task}/children").read_text().split()
            ]
        except OSError:
            continue
    return found
