"""`skyloom up`: how long until everything is ready, and what all its processes hold together."""

import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.figure import Figure, middle
from bench.processes import SKYLOOM, ended_after, memory_mb
from bench.project import PROFILE, trained

RUNS = 3
SETTLED_S = 3.0
"""How long everything has been idle when its memory is read."""


def up() -> list[Figure]:
    """On a project with a trained model."""
    ready, memory = list[float](), list[float]()
    for _ in range(RUNS):
        begun = time.perf_counter()
        with running(trained()) as process:
            ready.append(time.perf_counter() - begun)
            time.sleep(SETTLED_S)
            memory.append(memory_mb(process.pid))
    return [
        Figure("skyloom up, until all is ready", middle(ready), "s", 3.0, "skyloom up"),
        Figure("skyloom up, memory of all processes (PSS)", middle(memory), "MB", 400.0, "/proc/PID/smaps_rollup"),
    ]


@contextmanager
def running(folder: Path) -> Generator["subprocess.Popen[str]"]:
    """`skyloom up` of a project, ready when the block begins."""
    words = [SKYLOOM, "up", "--profile", PROFILE]
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        with ended_after(process):
            assert process.stdout is not None
            if not any(line.startswith("ready") for line in process.stdout):
                raise RuntimeError(f"skyloom up did not become ready: {(folder / 'up.log').read_text()[-2000:]}")
            yield process


def address(folder: Path) -> str:
    """Where the running project serves."""
    return msgspec.json.decode((folder / ".skyloom" / "up.json").read_bytes())["serving"]
