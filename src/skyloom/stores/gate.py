"""A gate that many may be behind at once, and one alone."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

from skyloom.kernel.errors import Transient

_PATIENCE_S = 10.0


class Gate:
    """Counts who is inside; `alone` shuts it and waits until they have left. Safe for threads.

    A thread that is inside may enter again while it is shut: else it would wait for itself.
    """

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._shut = False
        self._mine = threading.local()
        self._patience_s = patience_s

    def enter(self) -> None:
        """Go in; waits while somebody is alone inside."""
        depth: int = getattr(self._mine, "depth", 0)
        with self._lock:
            while self._shut and not depth:
                self._changed.wait()
            self._inside += 1
        self._mine.depth = depth + 1

    def leave(self) -> None:
        """Go out."""
        self._mine.depth -= 1
        with self._lock:
            self._inside -= 1
            if self._shut:
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Generator[None]:
        """Be inside with nobody else. Raises `Transient` when the others do not leave in ten seconds."""
        if getattr(self._mine, "depth", 0):
            raise Transient(
                "the store's map cannot change size inside a transaction", fix="end the outer one, then try again"
            )
        with self._changed:
            if not self._changed.wait_for(lambda: not self._shut, self._patience_s):
                raise Transient("the store's map is being resized for too long", fix="try again")
            self._shut = True
            empty = self._changed.wait_for(lambda: not self._inside, self._patience_s)
        try:
            if not empty:
                raise Transient("the store's map cannot change size: transactions stay open", fix="end them, then try again")
            yield
        finally:
            with self._changed:
                self._shut = False
                self._changed.notify_all()
