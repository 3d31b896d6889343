"""One training of a model at a time, also across processes and deaths."""

import subprocess
import sys

import pytest

from skyloom.kernel.errors import Refused
from skyloom.kernel.records.registry import Run
from skyloom.platform import Platform
from skyloom.registry.runs import list_runs, start
from skyloom.runtime.admission import is_training, training_place
from skyloom.runtime.training import Request, train_model

MODEL = "churn"
HOLD = """
import sys
from pathlib import Path
from skyloom.platform import open_platform
from skyloom.runtime.admission import training_place
with training_place(open_platform(Path(sys.argv[1])), "churn"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_place_is_one_also_for_another_process_and_free_once_that_is_killed(platform: Platform):
    assert not is_training(platform, MODEL)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(platform.directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert is_training(platform, MODEL)
        before = len(list_runs(platform.metadata))
        with pytest.raises(Refused, match="being trained already"):
            train_model(platform, MODEL, Request({}), actor="tester")
        assert len(list_runs(platform.metadata)) == before
        with training_place(platform, "another"):
            pass
        other.kill()
    assert not is_training(platform, MODEL)


def test_a_run_that_a_killed_process_left_is_closed_by_the_next(platform: Platform):
    start(platform.metadata, Run("run_dead", MODEL, "running", 1), actor="tester")
    train_model(platform, MODEL, Request({}), actor="tester")
    found = {run.id: run for run in list_runs(platform.metadata, MODEL)}
    assert (found["run_dead"].status, found["run_dead"].error) == ("failed", "its process ended before it did")
    assert sorted(run.status for run in found.values()) == ["done", "done", "failed"]
