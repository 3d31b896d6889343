"""A gate that many may be behind at once, and one alone."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from threading import get_ident

from skyloom.kernel.errors import Transient

_PATIENCE_S = 10.0


class Gate:
    """Counts who is inside; `alone` shuts it and waits until they have left. Safe for threads.

    A thread that is inside may enter again while it is shut: else it would wait for itself. Who enters takes no lock while
    the gate is open: first it is inside, then it looks; who shuts it shuts it first, then looks who is inside. One of the
    two sees the other.
    """

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}  # how often each thread has entered; each writes its own entry
        self._shut = False
        self._patience_s = patience_s

    def enter(self) -> None:
        """Go in; waits while somebody is alone inside."""
        inside, me = self._inside, get_ident()
        depth = inside.get(me, 0)
        inside[me] = depth + 1
        if self._shut and not depth:
            self._wait(me)

    def _wait(self, me: int) -> None:
        with self._changed:
            while self._shut:
                del self._inside[me]
                self._changed.notify_all()
                self._changed.wait()
                self._inside[me] = 1

    def leave(self) -> None:
        """Go out."""
        inside, me = self._inside, get_ident()
        depth = inside[me]
        if depth > 1:
            inside[me] = depth - 1
        else:
            del inside[me]
        if self._shut:
            with self._changed:
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Generator[None]:
        """Be inside with nobody else. Raises `Transient` when the others do not leave in ten seconds."""
        if get_ident() in self._inside:
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
