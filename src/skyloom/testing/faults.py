"""Real faults for tests of stores: processes that are killed, processes that race, a disk that is full.

What runs in a process is a function at the top of a module, a test's own included, with arguments that can be pickled.
The processes are forked from a small server without threads: `preload` what is slow to import, and one starts in
milliseconds.
"""

import importlib
import importlib.util
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

Report = Callable[[Any], None]

_PATIENCE_S = 60.0
_IMPORTED = ["pytest", "skyloom.ports", "skyloom.testing.faults"]


def preload(*modules: str) -> None:
    """Let every process of a test start with these imported. To be called before the first one is started."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([*_IMPORTED, *modules])


def killed_after(reports: int, target: Callable[..., None], *arguments: Any) -> list[Any]:
    """Run ``target(*arguments, report)`` in a process and end it by `SIGKILL` once it has reported so often.

    Returns everything it reported, also what came between the last one waited for and its death.
    """
    process, ours = _start(target, arguments)
    heard: list[Any] = []
    try:
        while len(heard) < reports:
            heard.append(_hear(ours))
    finally:
        os.kill(_pid(process), signal.SIGKILL)
        process.join()
    heard.extend(_left(ours))
    return heard


def ended_by_itself(target: Callable[..., None], *arguments: Any) -> list[Any]:
    """Run ``target(*arguments, report)`` in a process that ends before its time; everything it reported.

    Raises `AssertionError` when it reports nothing for a while, and does not end either.
    """
    process, ours = _start(target, arguments)
    try:
        return _until_end(ours)
    finally:
        with suppress(ProcessLookupError):
            os.kill(_pid(process), signal.SIGKILL)
        process.join()


def together(target: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Run ``target`` in one process for each tuple of arguments, all at once; what each reported.

    Raises `AssertionError` when one of them fails.
    """
    started = [_start(target, each) for each in arguments]
    heard: list[list[Any]] = []
    for process, ours in started:
        heard.append(_until_end(ours))
        process.join(_PATIENCE_S)
        assert process.exitcode == 0, f"process {_pid(process)} ended with {process.exitcode}"
    return heard


@contextmanager
def full_disk(size: int) -> Generator[None]:
    """Let no file of this process grow past ``size`` bytes: each write beyond fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def _start(target: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[Any, Connection]:
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(_place(target), arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _place(target: Callable[..., None]) -> tuple[str, str, str]:
    return target.__module__, str(sys.modules[target.__module__].__file__), target.__name__


def _run(place: tuple[str, str, str], arguments: tuple[Any, ...], pipe: Connection) -> None:
    module, file, name = place
    getattr(_imported(module, file), name)(*arguments, pipe.send)


def _imported(module: str, file: str) -> ModuleType:
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return importlib.import_module(module)
    # A file of tests is no module that can be imported by its name.
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _pid(process: Any) -> int:
    return int(process.pid)


def _hear(pipe: Connection) -> Any:
    if not pipe.poll(_PATIENCE_S):
        raise AssertionError(f"the process has not reported for {_PATIENCE_S} s")
    return pipe.recv()


def _left(pipe: Connection) -> list[Any]:
    """What a dead process left in the pipe; half a report does not count."""
    heard: list[Any] = []
    try:
        while pipe.poll(0):
            heard.append(pipe.recv())
    except (EOFError, OSError):
        pass
    return heard


def _until_end(pipe: Connection) -> list[Any]:
    heard: list[Any] = []
    try:
        while True:
            heard.append(_hear(pipe))
    except EOFError:
        return heard
