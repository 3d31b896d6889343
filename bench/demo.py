"""`skyloom demo`: the whole loop, once."""

import subprocess
import time

from bench.figure import Figure
from bench.processes import SKYLOOM, Peak, ended_after
from bench.project import scratch

LIMIT_S = 180.0


def demo() -> list[Figure]:
    """From typing to the end, and the greatest memory of all its processes together meanwhile."""
    begun = time.perf_counter()
    words = [SKYLOOM, "demo", "--dir", str(scratch() / "demo")]
    with ended_after(subprocess.Popen(words, stdout=subprocess.DEVNULL, text=True)) as process:
        peak = Peak(process.pid)
        code = process.wait(LIMIT_S)
        took = time.perf_counter() - begun
    if code:
        raise RuntimeError(f"skyloom demo ended with exit code {code}")
    return [
        Figure("skyloom demo, the whole loop", took, "s", 60.0, "time skyloom demo"),
        Figure("skyloom demo, greatest memory of all processes (PSS)", peak.close(), "MB", 2048.0, "skyloom demo"),
    ]
