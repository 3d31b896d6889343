"""Hostile model files, each tried in a process of its own: none runs code, none harms this process, none is taken in."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hostile import MAKERS, NUMBER, TEXT, good_model, hostile_files

from skyloom.kernel.errors import PackageError
from skyloom.kernel.records.registry import Package
from skyloom.kernel.schema import Type
from skyloom.package import Allowance, Content, Golden, Input, Signature, opened, try_out
from skyloom.package.machine import machine

FILES = int(os.environ.get("SKYLOOM_HOSTILE", str(len(MAKERS))))
SIGNATURE = Signature((Input(TEXT, Type.STRING), Input(NUMBER, Type.FLOAT)), "regression")
SMALL = Allowance(seconds=1, megabytes=512)
LIMITS = "s of processor time", "it did not end in"


def content(model: bytes, golden: Golden | None = None) -> Content:
    files = {
        "model.onnx": model,
        "signature.json": msgspec.json.encode(SIGNATURE),
        "card.json": b"{}",
        "golden.json": msgspec.json.encode(golden or Golden((("UA", 1.0),), (2.0,))),
    }
    return Content(Package("m", "onnx", {}, "d", {}, 0.5, "run_1"), files)


def tried(model: bytes) -> str:
    """Why it is refused; empty when it is not."""
    try:
        try_out(content(model), SMALL)
    except PackageError as error:
        return str(error)
    return ""


def test_a_good_package_passes() -> None:
    try_out(content(good_model().SerializeToString()), SMALL)


def test_hostile_files_run_nothing_break_nothing_and_are_refused(tmp_path: Path, note: Callable[[str], None]) -> None:
    canary = tmp_path / "canary"
    became: Counter[str] = Counter()
    for each in hostile_files(FILES, canary):
        refusal = tried(each.model)
        if refusal:
            assert not each.endless or any(limit in refusal for limit in LIMITS), (each.kind, refusal)
            became["broke its own process" if "breaks the process" in refusal else "refused"] += 1
        else:
            assert each.kind in ("mutated", "spliced", "cut", "many_nodes"), each.kind
            opened(content(each.model)).check()  # what passes answers as it should
            became["harmless after all"] += 1
        assert not canary.exists(), each.kind
    counted = f"{FILES} hostile files of {len(MAKERS)} kinds: {dict(became)}; 0 code executions, 0 crashes of this process"
    note(counted)
    assert became.total() == FILES


@pytest.mark.parametrize(
    "program",
    ["open('here', 'w')", "__import__('os').system('true')", "__import__('socket').socket()", "__import__('os').fork()"],
)
def test_the_process_of_a_trial_may_do_nothing(program: str, tmp_path: Path) -> None:
    confined = f"""
import os, socket
from skyloom.package.tried import confine
from skyloom.package.trial import Task
import msgspec
confine(msgspec.convert({{"content": {{"manifest": {{"model": "m", "format": "onnx", "files": {{}}, "definition": "",
    "groups": {{}}, "threshold": 0.5, "run": "r"}}, "files": {{}}}},
    "seconds": 9, "memory": 2**30, "parent": os.getppid()}}, Task))
{program}
"""
    ended = subprocess.run([sys.executable, "-c", confined], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "PermissionError: a package may not" in ended.stderr
    assert not (tmp_path / "here").exists()


def test_what_does_not_ask_python_opens_nothing_either() -> None:
    """As native code of a broken parser would: by the C library alone."""
    program = """
import ctypes, os
from skyloom.package.jail import lock_in
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
before = libc.open(b"/etc/passwd", os.O_RDONLY)
locked = lock_in()
opened = [libc.open(path, flags, 0o600) for path, flags in
    ((b"/etc/passwd", os.O_RDONLY), (b"/", os.O_RDONLY), (b"canary", os.O_WRONLY | os.O_CREAT))]
print(locked, before >= 0, opened, libc.execv(b"/bin/true", (ctypes.c_char_p * 2)(b"true", None)))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    locked, *rest = ended.stdout.split(maxsplit=1)
    assert locked == "False" or rest == ["True [-1, -1, -1] -1\n"]


def test_a_package_without_golden_rows_cannot_be_checked_and_is_refused() -> None:
    for golden in (Golden((), ()), Golden((("UA", 1.0),), ())):
        with pytest.raises(PackageError, match="no golden rows"):
            try_out(content(good_model().SerializeToString(), golden), SMALL)


def test_golden_rows_are_compared_bit_for_bit_here_and_within_the_proof_elsewhere() -> None:
    off, model = float(np.nextafter(np.float32(2), np.float32(3))), good_model().SerializeToString()
    for made_on, score, passes in (
        (machine(), 2.0, True),
        (machine(), off, False),
        ("", off, False),
        ("another machine", off, True),
        ("another machine", 2.1, False),
    ):
        package = opened(content(model, Golden((("UA", 1.0),), (score,), made_on, 1e-5)))
        if passes:
            package.check()
        else:
            with pytest.raises(PackageError, match="golden row 0"):
                package.check()
