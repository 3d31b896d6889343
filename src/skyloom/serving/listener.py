"""The listening socket."""

import socket

from skyloom.kernel.errors import UsageError
from skyloom.serving.services import Listen

BACKLOG = 1_024


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
