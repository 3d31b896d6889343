"""Prometheus' promtool: no server, and none is installed for it. On the path, or unpacked from Debian's package."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.services.process import Missing

ENABLE = "python -m tests.services prepare, or sudo apt-get install -y prometheus"
_PACKAGE = "prometheus"


def promtool_path() -> str:
    """The program. Raises `Missing` where it is not here."""
    program = shutil.which("promtool") or (str(_cached()) if _cached().exists() else None)
    if program is None:
        raise Missing(f"promtool is not here: {ENABLE}")
    return program


def brought_promtool() -> str:
    """The program, unpacked into a cache folder where it is not there. Raises `Missing` when it cannot be."""
    _cached().parent.mkdir(parents=True, exist_ok=True)
    with (_cached().parent / "promtool.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return promtool_path()
        except Missing:
            if not (shutil.which("apt-get") and shutil.which("dpkg")):
                raise
        with tempfile.TemporaryDirectory(prefix="promtool-") as scratch:
            if not _downloaded(scratch):
                _run(scratch, "apt-get", "-qq", "update")  # a bare machine knows no packages yet
                if not _downloaded(scratch):
                    raise Missing(f"apt-get gave no package {_PACKAGE}: {ENABLE}")
            [package] = Path(scratch).glob("*.deb")
            if not _run(scratch, "dpkg", "-x", str(package), "unpacked"):
                raise Missing(f"{package.name} cannot be unpacked: {ENABLE}")
            unfinished = _cached().with_suffix(".unfinished")
            shutil.copyfile(Path(scratch) / "unpacked" / "usr" / "bin" / "promtool", unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(_cached())
    return promtool_path()


def _cached() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skyloom" / "promtool"


def _downloaded(folder: str) -> bool:
    return _run(folder, "apt-get", "-qq", "-o", "Acquire::Retries=3", "download", _PACKAGE)


def _run(folder: str, *words: str) -> bool:
    try:
        done = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
