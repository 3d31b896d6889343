"""HTTP servers on one socket, one after the other, so that certificates change and no connection is dropped."""

import asyncio
import logging
import os
import socket
import stat
import time
from collections.abc import Callable

from skyloom.serving.certificate_watch import CertificateWatch
from skyloom.serving.certificates import Pair
from skyloom.serving.listener import HttpServer
from skyloom.serving.services import Limits

_log = logging.getLogger("skyloom.serving")

_GOODBYE_S = 10.0
"""How long connections that are in use have to end between two requests, once their time is over."""
_MOST = 64
"""How many servers there may be: more certificates than that wait until one of them has ended."""
_SPARE_DESCRIPTORS = 64
"""What a new server may need: a runtime that cannot have them ends the process."""


class RotatingServer:
    """Serves with the pair of a watch, and with the next one when there is one.

    Granian reads certificates when it begins. So a second server begins on the same socket and the first one stops
    accepting, but answers on the connections that it has until they have ended. That takes at most the ``linger_seconds``
    of the limits; then its answers say ``connection: close``, and a little later what is still open, and idle, is closed.
    """

    def __init__(
        self,
        begin: Callable[[Pair], HttpServer],
        watch: CertificateWatch,
        listener: socket.socket,
        limits: Limits,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_change`` is called when there is a new pair."""
        self._begin, self._watch, self._on_change = begin, watch, on_change
        self._linger_s, self._look_s = limits.linger_seconds, limits.look_seconds
        self._port = listener.getsockname()[1]
        self._turns: list[_Turn] = []
        """Those that have not ended; the last one accepts."""
        self._leaving: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()

    async def serve(self) -> None:
        """Until `stop`; then until the connections of all servers have ended."""
        self._turns.append(_Turn(self._begin(self._watch.now), self._watch.now))
        ending = asyncio.create_task(self._ending.wait())
        while not self._ending.is_set():
            newest = self._turns[-1]
            await asyncio.wait({newest.serving, ending}, timeout=self._look_s, return_when=asyncio.FIRST_COMPLETED)
            if newest.serving.done():
                self._ending.set()  # it ended by itself: whoever runs us hears of it
            elif not self._ending.is_set():
                await self._look(newest)
        self.stop()
        await asyncio.wait({turn.serving for turn in self._turns})

    def stop(self) -> None:
        """Finish the requests that were begun, and end."""
        self._ending.set()
        for each in self._leaving:
            each.cancel()
        for turn in self._turns:
            turn.server.stop()

    def stop_accepting(self) -> None:
        """Leave new connections to whoever else holds the socket."""
        for turn in self._turns[-1:]:
            turn.server.stop_accepting()

    async def _look(self, newest: "_Turn") -> None:
        await asyncio.to_thread(self._watch.look)
        pair = self._watch.now
        if pair is newest.pair or self._ending.is_set() or len(self._turns) > _MOST or not _descriptors_are_left():
            return
        following = self._begin(pair)
        newest.server.stop_accepting()  # who connects waits in the socket's queue until the next one accepts
        newest.left = await asyncio.to_thread(self._accepted_by_the_last)
        if self._ending.is_set():
            return
        self._turns.append(_Turn(following, pair))
        self._on_change()
        leaving = asyncio.create_task(self._leave(newest))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _accepted_by_the_last(self) -> dict[int, int]:
        older = {each for turn in self._turns[:-1] for each in turn.left.items()}
        return dict(accepted(self._port).items() - older)

    async def _leave(self, turn: "_Turn") -> None:
        """End a server once its connections have ended, or its time is over."""
        for within_s in (self._linger_s, _GOODBYE_S):
            deadline = time.monotonic() + within_s
            while turn.left and time.monotonic() < deadline:
                await asyncio.sleep(min(self._look_s, within_s))
                turn.left = {number: inode for number, inode in turn.left.items() if _inode(number) == inode}
            turn.server.say_goodbye()
        turn.server.stop()
        await asyncio.wait({turn.serving})
        self._turns.remove(turn)


class _Turn:
    """A server, what it serves with, and its task."""

    def __init__(self, server: HttpServer, pair: Pair) -> None:
        self.server, self.pair = server, pair
        self.left: dict[int, int] = {}
        """Its connections, once it accepts no more: descriptor -> inode."""
        self.serving = asyncio.create_task(server.serve())


def accepted(port: int) -> dict[int, int]:
    """The connections that this process has accepted on a port: descriptor -> inode of the socket."""
    found: dict[int, int] = {}
    for name in os.listdir("/dev/fd"):
        number = int(name)
        try:
            status = os.fstat(number)
            if stat.S_ISSOCK(status.st_mode) and _is_accepted(os.dup(number), port):
                found[number] = status.st_ino
        except OSError:
            continue  # closed meanwhile, or it only listens
    return found


def _is_accepted(descriptor: int, port: int) -> bool:
    with socket.socket(fileno=descriptor) as each:
        local = each.getsockname()
        return isinstance(local, tuple) and local[1] == port and bool(each.getpeername())


def _inode(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return -1


def _descriptors_are_left() -> bool:
    spare: list[int] = []
    try:
        spare.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(_SPARE_DESCRIPTORS))
    except OSError:
        _log.warning("a changed certificate waits: this process has too many files and connections open")
        return False
    finally:
        for each in spare:
            os.close(each)
    return True
