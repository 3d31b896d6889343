"""What the processes of `skyloom up` have in common when they begin, and what none of them has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="platform: subreapers are Linux's")

ASKS = """
import os, select, sys
from skyloom.engines.local.cradle import Birth
from skyloom.engines.local.nursery import Nursery

nursery = Nursery((sys.executable, "-m", "skyloom.runtime.nursery"), {"OPENBLAS_NUM_THREADS": "1"})
nursery.hear()
pid = nursery.bear(Birth((sys.executable, "-m", "told"), dict(os.environ), None, ()), ())
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
TOLD = """
import json, os, sys

def main():
    begun = [name for name in ("numba", "skyloom.serving.worker", "onnxruntime", "pyarrow") if name in sys.modules]
    threads = len(os.listdir("/proc/self/task"))
    import pyarrow
    table = pyarrow.table({"a": [1, 2], "b": ["x", None]}).to_pylist()
    sys.stdout.write(json.dumps([begun, threads, table, sys.modules.get("pandas") is None]))
"""


def test_children_have_what_serving_imports_and_one_thread_and_never_pandas(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(TOLD)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    ended = subprocess.run([sys.executable, "-c", ASKS], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert json.loads(ended.stdout) == [["numba", "skyloom.serving.worker"], 1, rows, True]


def test_a_nursery_that_nobody_asks_says_how_to_have_one() -> None:
    ended = subprocess.run([sys.executable, "-m", "skyloom.runtime.nursery"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "skyloom up" in ended.stderr
