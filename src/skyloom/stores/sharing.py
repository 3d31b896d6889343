"""One environment per folder and process, whoever asks."""

import threading
from collections.abc import Callable
from os import getpid
from pathlib import Path

from skyloom.kernel.errors import UsageError
from skyloom.stores.environment import Environment


class Sharing:
    """The open environments of this process by folder. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Path, Environment] = {}

    def take(self, path: Path, make: Callable[[], Environment]) -> Environment:
        """The environment in a folder, made when nobody in this process has it open."""
        with self._lock:
            environment = self._open.get(path)
            if environment is None:
                environment = self._open[path] = make()
            check_process(environment)
            environment.holders += 1
            return environment

    def give_back(self, environment: Environment) -> None:
        """Close the environment when nobody else in this process holds it."""
        with self._lock:
            environment.holders -= 1
            if environment.holders == 0:
                del self._open[environment.path]
                environment.lmdb.close()  # of no effect in a forked process


def check_process(environment: Environment) -> None:
    """Raises `UsageError` in a process that was forked from the one that opened the environment."""
    if environment.pid != getpid():
        raise UsageError(
            f"{environment.path} was opened before this process was forked",
            fix="open it in the new process alone, or start processes by spawning",
        )


# LMDB's rule is about the process, so what keeps it is the process's as well.
_SHARING = Sharing()


class Handle:
    """A store's hold on the environment in ``path``."""

    def __init__(self, path: Path, make: Callable[[Path], Environment]) -> None:
        path = path.resolve()
        self._environment = _SHARING.take(path, lambda: make(path))
        self._closed = False

    def environment(self) -> Environment:
        """The environment. Raises `UsageError` when it was closed, or in a forked process."""
        environment = self._environment
        if self._closed:
            raise UsageError(f"{environment.path} was closed", fix="open it again")
        if environment.pid != getpid():
            check_process(environment)
        return environment

    def close(self) -> None:
        """Let go. The handle cannot be used any more."""
        if not self._closed:
            self._closed = True
            _SHARING.give_back(self._environment)
