"""What the processes that wait most of the time do not load until they need it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("process", ["skyloom.api.main", "skyloom.runtime.schedule"])
def test_a_process_that_waits_is_small(process: str) -> None:
    heavy = ["deltalake", "duckdb", "lightgbm", "numba", "onnxruntime", "pandas", "pyarrow", "sklearn"]
    code = f"import sys, {process}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == []
