"""Reading made ready without what it does not need."""

import subprocess
import sys

LOADED = """
import sys
from skyloom.features.online.warm import warm_reading, without_blas
with without_blas():
    warm_reading()
assert not [name for name in sys.modules if name.startswith("scipy.linalg")]
import scipy.linalg
"""


def test_scipy_is_not_loaded_for_reading_and_can_be_loaded_after_it() -> None:
    ended = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
