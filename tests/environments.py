"""Environments of clients that tests run but that we do not depend on: made once, in a cache folder, from exact versions."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def python_with(name: str, *packages: str) -> str:
    """The interpreter of an environment with ``packages`` (each ``name==version``), made when it is not there.

    Raises `RuntimeError` when that fails. Safe for processes that ask for the same one at the same time.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skyloom-tests"
    cache.mkdir(parents=True, exist_ok=True)
    version = hashlib.sha256("\n".join([*packages, sys.version]).encode()).hexdigest()[:12]
    folder = cache / f"{name}-{version}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _make(folder, packages)
            (folder / "ready").touch()
    return str(folder / "bin" / "python")


def _make(folder: Path, packages: tuple[str, ...]) -> None:
    beside = Path(__file__).resolve().parent.parent / ".venv-uv" / "bin" / "uv"
    uv = shutil.which("uv") or (str(beside) if beside.exists() else None)
    python = str(folder / "bin" / "python")
    if uv:
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        _run(uv, "pip", "install", "--quiet", "--python", python, *packages)
    else:
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(python, "-m", "pip", "install", "--quiet", *packages)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with exit code {done.returncode}: {done.stderr[-500:]}")
