"""Connections with a request to answer."""

import asyncio
import logging
from typing import Protocol

_log = logging.getLogger("skyloom.serving")


class Asked(Protocol):
    """A connection on which there is a request."""

    def answer_next(self) -> None: ...

    def abort(self) -> None: ...


class Ready:
    """Lets those that one look at the sockets has found be answered one right behind the other. To go back to the kernel in
    between, for what the next one sent, takes the processor's caches from the code of answers: a third more time each.
    """

    def __init__(self) -> None:
        self._waiting: list[Asked] = []

    def add(self, connection: Asked) -> None:
        """Answer a request of a connection soon."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._answer)
        self._waiting.append(connection)

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            try:
                each.answer_next()
            except Exception:  # noqa: BLE001  # the edge of a connection: the others are answered
                _log.exception("a connection is broken off")
                each.abort()
