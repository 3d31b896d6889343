"""The process in which a package is tried: ``python -m skyloom.package.tried``, a `Task` on its input, a `Verdict` out."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from skyloom.kernel.errors import PackageError
from skyloom.package.jail import lock_in
from skyloom.package.machine import machine
from skyloom.package.scorer import load_runtime
from skyloom.package.store import opened
from skyloom.package.trial import Task, Verdict

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
_FEW_FILES = 64
_NEVER = (
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.system",
    "pickle.find_class",
    "socket.",
    "subprocess.Popen",
)
_USUAL = 2**30
"""Where the system does not tell (it has no /proc): more than Python and ONNX Runtime map."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Try the package that stands on the standard input."""
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no part of the answer
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Task)
    load_runtime()  # what it needs is open before nothing more may be
    machine()
    confine(task)
    os.write(answer, msgspec.json.encode(_verdict(task)))
    os._exit(0)


def _verdict(task: Task) -> Verdict:
    name = task.content.manifest.model
    try:
        package = opened(task.content)
        with contextlib.suppress(Exception):  # many a model refuses a row of which nothing is known
            package.scorer.score_row((None,) * len(package.scorer.signature.inputs))
        package.check()
    except PackageError as error:
        return Verdict(error.what, error.tried, error.fix)
    except MemoryError:
        return Verdict(f"the package of {name} needs more memory than a package may", f"{task.memory:,} bytes")
    except Exception as error:  # noqa: BLE001  # the edge of the process: a model is foreign code
        return Verdict(f"the package of {name} is damaged", f"{type(error).__name__}: {error}"[:2_000])
    return Verdict()


def confine(task: Task) -> None:
    """From here on this process may do little, and not for long."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != task.parent:
        os._exit(1)
    for what, most in (
        (resource.RLIMIT_AS, _virtual() + task.memory),
        (resource.RLIMIT_CPU, task.seconds + int(sum(os.times()[:2]))),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _FEW_FILES),
    ):
        _, hard = resource.getrlimit(what)
        bounded = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bounded, bounded))
    lock_in()
    sys.addaudithook(_watch)


def _virtual() -> int:
    """The bytes of memory that are mapped already."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
    except OSError:
        return _USUAL


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_NEVER) or (event == "open" and _writes(arguments)):
        raise PermissionError(f"a package may not: {event}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    by_flags = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return by_flags or (isinstance(mode, str) and not set(mode).isdisjoint("wax+"))


if __name__ == "__main__":
    main()
