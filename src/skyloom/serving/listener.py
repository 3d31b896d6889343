"""The listening socket, and Granian on it."""

import os
import socket
from typing import Any

import granian.net as _net
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server as _Embedded

from skyloom.kernel.errors import UsageError
from skyloom.serving.certificates import Pair, held
from skyloom.serving.services import Listen

_SocketHolder: Any = getattr(_net, "SocketHolder")  # noqa: B009  # its constructor is missing in the stubs

BACKLOG = 1024
_CONNECTIONS = 16_384
"""How many connections there may be: slow ones must not keep others out. Granian accepts no more when there are so many."""
_HEAD_MS = 10_000
"""How long a client may take to send the head of a request, in ms."""


def listening(listen: Listen) -> socket.socket:
    """A listening socket: the inherited one, or a new one. Raises `UsageError` when the address cannot be had."""
    if listen.descriptor is not None:
        inherited = socket.socket(fileno=listen.descriptor)
        inherited.setblocking(False)
        return inherited
    family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
    fresh = socket.socket(family, socket.SOCK_STREAM)
    try:
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        fresh.bind((listen.address, listen.port))
        fresh.listen(BACKLOG)
    except OSError as error:
        fresh.close()
        raise UsageError(
            f"{listen.address}:{listen.port} cannot be listened on: {error.strerror}", fix="choose another --port"
        ) from error
    fresh.setblocking(False)
    return fresh


class HttpServer(_Embedded):
    """Granian in this event loop, on a socket that we made and keep."""

    def __init__(
        self,
        target: Any,
        listener: socket.socket,
        interface: Interfaces = Interfaces.RSGI,
        head_ms: int = _HEAD_MS,
        pair: Pair | None = None,
    ) -> None:
        """With a ``pair`` it speaks TLS; one that was not proven to be good may end this process."""
        super().__init__(
            target,
            interface=interface,
            websockets=False,
            log_enabled=False,
            backlog=BACKLOG,
            backpressure=_CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=head_ms),
        )
        self._descriptor, self._family = os.dup(listener.fileno()), listener.family  # Granian closes it, ours stays open
        self._target, self._pair = target, pair

    async def serve(self, spawn_target: Any = None) -> None:
        """Until `stop`, and until the requests that were begun are answered."""
        if self._pair is None:
            return await super().serve(spawn_target)
        with held(self._pair) as (context, _):
            self.ssl_ctx: Any = context
            await super().serve(spawn_target)

    def say_goodbye(self) -> None:
        """End kept connections (of HTTP/1) between two requests: from now on answers say ``connection: close``."""
        self._target.closing = True

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd = _SocketHolder(self._descriptor, False, BACKLOG)
        self._sfd = self._shd.get_fd()

    def stop_accepting(self) -> None:
        """Leave new connections to whoever else holds the socket, while those we have go on.

        Granian can only stop whole, and then drops the connections that it has just accepted. So the descriptor that it
        accepts from becomes another socket, to which nobody ever connects. That is one of the same family: Granian aborts
        the process when it begins, and finds one that has no IP address.
        """
        with socket.socket(self._family, socket.SOCK_STREAM) as silent:
            silent.setblocking(False)
            silent.bind(("::1" if self._family == socket.AF_INET6 else "127.0.0.1", 0))
            silent.listen(1)
            os.dup2(silent.fileno(), self._descriptor)
