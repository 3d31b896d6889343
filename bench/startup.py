"""The first impression: importing the library, asking the command for help."""

import subprocess
import sys

from bench.figure import Figure, middle
from bench.processes import SKYLOOM, seconds

RUNS = 9
_IMPORT = "import time; begun = time.perf_counter(); import skyloom; print(time.perf_counter() - begun)"


def import_skyloom() -> list[Figure]:
    """Inside a fresh interpreter, without its own start."""
    times = [float(subprocess.check_output([sys.executable, "-c", _IMPORT], text=True)) for _ in range(RUNS)]
    return [Figure("import skyloom", middle(times), "s", 0.15, "python -X importtime -c 'import skyloom'")]


def help_text() -> list[Figure]:
    """From typing to the last line, the interpreter included."""
    times = [seconds(SKYLOOM, "--help") for _ in range(RUNS)]
    return [Figure("skyloom --help", middle(times), "s", 0.2, "time skyloom --help")]
