"""A server of HTTP/1.1 in the event loop: its listening socket, and the connections that it has accepted."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from skyloom.serving.http.connection import Connection
from skyloom.serving.http.heads import Heads
from skyloom.serving.http.ready import Ready
from skyloom.serving.http.request import Headers, Request
from skyloom.serving.listener import BACKLOG

_log = logging.getLogger("skyloom.serving")

_CONNECTIONS = 16_384
"""How many connections there may be: slow ones must not keep others out."""
_SPARE_DESCRIPTORS = 256
_IDLE_S = 630.0
"""How long a connection is kept without a request: longer than the balancers of the clouds keep theirs (Google's: 600 s),
which would otherwise send a request on one that has just ended."""
_GOODBYE_S = 10.0
"""How long connections that are in use have to end between two requests, once their time is over."""
_TURNS = 4
"""After so many turns of its loop those clients have come whom the loop had accepted."""
_TICK_S = 0.25
_LATELY_S = 0.5

Handle = Callable[[Request], Coroutine[Any, Any, None]]
Explain = Callable[[int, str], tuple[int, Headers, bytes]]


class HttpServer:
    """Answers on a socket that somebody else made and keeps. To be used in one event loop."""

    def __init__(
        self,
        handle: Handle,
        explain: Explain,
        listener: socket.socket,
        *,
        head_s: float = 10.0,
        patience_s: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``handle`` answers requests, and raises nothing; ``explain`` makes the answer to what is no request, of a status
        and why. A head may take ``head_s`` seconds, and an answer wait for ``patience_s`` until the client takes more of it.
        """
        self.handle, self.explain = handle, explain
        self.head_s, self.patience_s, self.idle_s, self.goodbye_s = head_s, patience_s, _IDLE_S, _GOODBYE_S
        self.now = 0.0
        """The clock of the connections, in seconds; it moves on a few times a second."""
        self.heads, self.ready = Heads(), Ready()
        self.closing = False
        """Whether connections end after the next answer."""
        self.changes, self.leave_at = 0, 0.0
        """How often connections were left behind, and when those of the last time are to end."""
        self._listener, self._tls = listener, tls
        self._connections: set[Connection] = set()
        self._most = _most_connections()
        self._accepting: asyncio.Server | None = None
        self._is_full = self._is_left = False
        self._stopped = asyncio.Event()
        self._empty = asyncio.Event()
        self._tick_s = min(_TICK_S, head_s / 4)

    async def serve(self) -> None:
        """Until `stop`, and until all connections have ended."""
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        ticking = asyncio.create_task(self._tick())
        if not self._stopped.is_set():
            await self._accept()
            await self._stopped.wait()
            self.stop_accepting()
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        while self._connections:
            self._empty.clear()
            await self._empty.wait()
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking

    def stop(self) -> None:
        """Answer the requests that were begun, and end. Connections that were used lately may bring another request first,
        and are told to end with its answer."""
        self.closing = True
        self._stopped.set()
        self.stop_accepting()
        self._end_idle()

    def stop_accepting(self) -> None:
        """Leave new connections to whoever else holds the socket, while those that are here go on."""
        self._is_left, self._is_full = True, False
        self._pause_accepting()

    async def abort(self) -> None:
        """Break off what is left, once `stop` was called; a loop that is closed before waits for its clients."""
        for each in list(self._connections):
            each.abort()
        while self._connections:
            self._empty.clear()
            await self._empty.wait()

    def say_goodbye(self) -> None:
        """End connections between two requests: from now on answers say ``connection: close``."""
        self.closing = True

    def leave_behind(self, within_s: float) -> None:
        """End the connections of now between two requests, from ``within_s`` seconds on; new ones stay."""
        self.changes += 1
        self.leave_at = self.now + within_s
        for each in self._connections:
            each.leave_at = min(each.leave_at, self.leave_at)

    def add(self, connection: Connection) -> None:
        """A client has come."""
        self._connections.add(connection)
        if len(self._connections) >= self._most:
            self._let_wait()

    def remove(self, connection: Connection) -> None:
        """It has left."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def _accept(self) -> None:
        own = self._listener.dup()  # the loop closes it
        own.setblocking(False)
        within_s = self.head_s if self._tls else None
        self._accepting = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=own, backlog=BACKLOG, ssl=self._tls, ssl_handshake_timeout=within_s
        )
        if self._is_left:  # meanwhile
            self._pause_accepting()
        elif len(self._connections) >= self._most:
            self._let_wait()

    def _let_wait(self) -> None:
        if self._accepting is not None:
            _log.warning("there are %d connections: new ones wait", len(self._connections))
            self._pause_accepting()
            self._is_full = True

    def _pause_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.close()
            self._accepting = None

    def _end_idle(self) -> None:
        for each in list(self._connections):
            if each.is_used and each.is_idle and each.due - self.idle_s < self.now - _LATELY_S:
                each.end()

    async def _tick(self) -> None:
        """Move the clock on, and look at every connection."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._tick_s)
            self.now = loop.time()
            self.heads.tell_time()
            for each in list(self._connections):
                each.look(self.now)
            if self._stopped.is_set():
                self._end_idle()
            elif self._is_full:
                await self._make_room()

    async def _make_room(self) -> None:
        """End connections that have been idle for longest, and accept others when there is room."""
        if len(self._connections) < self._most:
            self._is_full = False
            try:
                await self._accept()
            except OSError as error:
                self._is_full = True
                _log.warning("connections cannot be accepted now: %s", error)
            return
        idle = sorted((each for each in self._connections if each.is_used and each.is_idle), key=lambda each: each.due)
        for each in idle[: max(1, self._most // 16)]:
            each.end()


def _most_connections() -> int:
    """As many as this process may open, or as are reasonable."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return _CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _CONNECTIONS if soft == resource.RLIM_INFINITY else max(16, min(_CONNECTIONS, soft - _SPARE_DESCRIPTORS))
