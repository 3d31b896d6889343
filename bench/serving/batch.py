"""``skyloom score`` beside a bare loop of ONNX Runtime over the same batches, on the same core."""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from bench.figure import Figure
from bench.processes import SKYLOOM
from bench.project import scratch
from bench.serving import made
from bench.serving.servers import ONE_THREAD, ROOT, SERVER_CORE, on_core

_FEW, _MANY, _ROUNDS = 100_000, 500_000, 3


class _Ran(NamedTuple):
    seconds: float
    worked: float
    mb: float


def batch(project: made.Project) -> list[Figure]:
    """A forest of 100 trees. A small file and a large one are scored, so that what is done once is taken off; more rows must
    not take more memory."""
    few = made.requests_file(scratch() / "few.parquet", _FEW, project.now_ms)
    many = made.requests_file(scratch() / "many.parquet", _MANY, project.now_ms)
    _scored(project, few)  # what is done but once, such as compiling, is no figure of either file
    ran = [(_scored(project, few), _scored(project, many), _bare(project, many)) for _ in range(_ROUNDS)]
    rows = _MANY - _FEW
    seconds = median(large.seconds for _, large, _ in ran) - median(small.seconds for small, _, _ in ran)
    worked = median(large.worked for _, large, _ in ran) - median(small.worked for small, _, _ in ran)
    bare_rate, bare_worked = median(bare["rate"] for _, _, bare in ran), median(bare["worked"] for _, _, bare in ran)
    if min(seconds, worked) <= 0:
        raise RuntimeError(f"{_MANY:,} rows took no longer than {_FEW:,}: this machine is too busy to tell")
    grown = max(large.mb - small.mb for small, large, _ in ran)
    return [
        Figure("skyloom score, 100 trees, 10 columns", rows / seconds, "rows/s", None, "make bench-serving"),
        Figure("  over ONNX Runtime on the same batches", rows / seconds / bare_rate, "x", 0.8, at_least=True),
        Figure("  the same in processor time", bare_worked * rows / worked, "x"),
        Figure(f"  memory that {rows:,} rows more take", grown, "MB", 30.0),
    ]


def _scored(project: made.Project, source: Path) -> _Ran:
    target = scratch() / "scored.parquet"
    target.unlink(missing_ok=True)
    words = [SKYLOOM, "score", "forest", str(source), str(target)]
    begun, log = time.perf_counter(), scratch() / "score.log"
    with log.open("wb") as out, on_core(SERVER_CORE):
        process = subprocess.Popen(words, cwd=project.folder, env={**os.environ, **ONE_THREAD}, stdout=out, stderr=out)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with exit code {process.returncode}: {log.read_text()[-500:]}")
    return _Ran(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _bare(project: made.Project, file: Path) -> dict[str, float]:
    words = [sys.executable, "-m", "bench.serving.bare", str(project.onnx("forest")), "--parquet", str(file)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout)
