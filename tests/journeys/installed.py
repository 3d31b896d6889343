"""The installed command, in processes that are forked from one that has imported other people's packages already.

Most of the second that a command takes is pandas, SciPy or Numba. What is ours is imported by each process anew, and the
script that is run is the one that was installed. Started from nothing are ``skyloom up``, whatever a test kills or limits,
and the commands of the README and of the documents.

Run as a program it is the process that forks: ``python installed.py SOCKET``.
"""

import atexit
import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

COMMAND = str(Path(sys.executable).with_name("skyloom"))
PREPARED = (
    "numpy",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pandas",
    "numba.np.arraymath",
    "sklearn.linear_model",
    "sklearn.impute",
    "sklearn.pipeline",
    "lightgbm",
    "skl2onnx",
    "typer",
)
"""None of them ours; ONNX Runtime is left out, because it begins a thread when it is imported."""
LONGEST_S = 240


class Said(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


class Installed:
    """Runs the installed command, until the process that asks ends."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, __file__, str(theirs.fileno())]
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a pool of threads is not there after a fork
            self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], env=environment)
        self._one_at_a_time = threading.Lock()
        atexit.register(self.close)

    def run(self, words: tuple[str, ...], directory: Path) -> Said:
        """``skyloom WORDS`` in a directory, to its end."""
        with self._one_at_a_time, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            asked = {"words": words, "directory": str(directory), "environment": dict(os.environ)}
            socket.send_fds(self._ours, [json.dumps(asked).encode()], [out.fileno(), err.fileno()])
            heard, _, _ = select.select([self._ours], [], [], LONGEST_S)
            assert heard, f"skyloom {' '.join(words)} has not ended"
            answer = self._ours.recv(100)
            assert answer, f"skyloom {' '.join(words)} could not be begun"
            return Said(int(answer), _whole(out), _whole(err))

    def close(self) -> None:
        self._ours.close()
        self._process.wait(LONGEST_S)


@cache
def installed() -> Installed:
    """One for all tests of a process."""
    return Installed()


def _whole(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def fork_what_is_asked(control: socket.socket) -> None:
    """One process for each request, one after the other, until nobody asks any more."""
    while True:
        content, files, _, _ = socket.recv_fds(control, 1_000_000, 2)
        if not content:
            return
        child = os.fork()
        if child == 0:
            control.close()
            become(json.loads(content), *files)
        for each in files:
            os.close(each)
        control.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def become(asked: dict[str, Any], out: int, err: int) -> None:
    """Be the command that is asked for. Never returns."""
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["directory"])
    sys.argv, sys.path[0] = [COMMAND, *asked["words"]], str(Path(COMMAND).parent)
    runpy.run_path(COMMAND, run_name="__main__")
    raise SystemExit


def main() -> None:
    for module in PREPARED:
        importlib.import_module(module)
    fork_what_is_asked(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
