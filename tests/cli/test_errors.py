import json
import os
import signal
import subprocess
import sys

import pytest

from skyloom.cli.errors import guarded
from skyloom.kernel.errors import NotFound, UsageError


def raising(error: BaseException):
    def run() -> int:
        raise error

    return run


def test_what_went_wrong_what_was_tried_and_what_to_type(capsys: pytest.CaptureFixture[str]):
    assert guarded(raising(NotFound("no x", tried="a, b", fix="skyloom y")), as_json=False) == 1
    assert capsys.readouterr().err == "error: no x\n  tried: a, b\n  next:  skyloom y\n"
    assert guarded(raising(UsageError("no x")), as_json=True) == 2
    assert json.loads(capsys.readouterr().err) == {"error": "no x", "tried": "", "next": ""}


def test_a_fault_of_ours_is_called_one(capsys: pytest.CaptureFixture[str]):
    assert guarded(raising(ZeroDivisionError("by\nzero")), as_json=False) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "error: ZeroDivisionError: by zero (this is a bug in skyloom)"
    assert "Traceback (most recent call last):" in rest
    assert guarded(raising(ZeroDivisionError("x")), as_json=True) == 1
    assert "Traceback" in json.loads(capsys.readouterr().err)["tried"]


def test_an_interrupt_exits_130():
    code = (
        "import signal, sys; from skyloom.cli.errors import guarded\n"
        "def wait():\n print('waiting', flush=True); signal.pause(); return 0\n"
        "sys.exit(guarded(wait, as_json=False))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, said) == (130, "error: interrupted\n")
