"""A package is tried in a process of its own before this one loads it: what it breaks there, it breaks for nobody.

The process gets the bytes on its standard input and nothing else: no store, no key, no variable of ours. It may write no
file, open no connection, start no program and load no pickle; its memory and its time are bounded; it dies with its parent.
"""

import os
import signal
import subprocess
import sys
import time

import msgspec

from skyloom.kernel.errors import PackageError
from skyloom.package.store import MODEL, Content

_MEGABYTE = 2**20
_CLOCK = 10
_PASSED_ON = ("LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


class Allowance(msgspec.Struct, frozen=True):
    """What a package may need to be loaded and asked its golden rows.

    ``seconds`` of processor time, and one more for each 4 MiB of its model; ten times as many of the clock.
    ``megabytes`` (2^20 bytes) of memory, and eight times the size of its model.
    """

    seconds: float = 30.0
    megabytes: int = 2_048

    def seconds_for(self, model: bytes) -> int:
        """Seconds of processor time."""
        return max(1, int(self.seconds + len(model) / _MEGABYTE / 4))

    def bytes_for(self, model: bytes) -> int:
        """Bytes of memory."""
        return self.megabytes * _MEGABYTE + 8 * len(model)


class Task(msgspec.Struct, frozen=True):
    """What the process is given. ``parent`` is who must live on."""

    content: Content
    seconds: int
    memory: int
    parent: int


class Verdict(msgspec.Struct, frozen=True):
    """What it found; ``refusal`` is empty for a package that loads and answers its golden rows."""

    refusal: str = ""
    tried: str = ""
    fix: str = ""


def try_out(content: Content, allowance: Allowance | None = None) -> None:
    """Load a package in another process, and ask it its golden rows.

    Raises `PackageError` with what the process said, or how it ended.
    """
    allowed, model = allowance or Allowance(), content.files[MODEL]
    seconds = allowed.seconds_for(model)
    task = Task(content, seconds, allowed.bytes_for(model), os.getpid())
    begun = time.monotonic()
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-s", "-m", "skyloom.package.tried"],
            input=msgspec.msgpack.encode(task),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            timeout=_CLOCK * seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _broke(content, f"it did not end in {_CLOCK * seconds} s") from error
    if ended.returncode != 0:
        raise _broke(content, _how(ended, seconds, time.monotonic() - begun))
    try:
        verdict = msgspec.json.decode(ended.stdout, type=Verdict)
    except msgspec.DecodeError as error:
        raise _broke(content, "it ended without a verdict") from error
    if verdict.refusal:
        raise PackageError(verdict.refusal, tried=verdict.tried, fix=verdict.fix)


def _environment() -> dict[str, str]:
    """The same libraries, and nothing that is a secret."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**passed, **threads, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}


def _broke(content: Content, how: str) -> PackageError:
    return PackageError(
        f"the package of {content.manifest.model} (run {content.manifest.run}) breaks the process that loads it: {how}",
        tried="in a process of its own",
        fix=f"skyloom train {content.manifest.model}",
    )


def _how(ended: subprocess.CompletedProcess[bytes], seconds: int, took_s: float) -> str:
    code = ended.returncode
    if -code in (signal.SIGXCPU, signal.SIGKILL) and took_s >= seconds:
        return f"it took more than {seconds} s of processor time"
    return f"it ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with code {code}"
