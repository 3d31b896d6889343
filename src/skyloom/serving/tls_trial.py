"""Serves a certificate once, to itself: a program of its own, since Granian ends a process whose certificate it cannot read.

It is given Granian's TLS settings as JSON, says in hexadecimal which certificate a client saw, and imports nothing of ours:
it is to be quick.
"""

import asyncio
import json
import os
import socket
import ssl
import sys
from typing import Any, NoReturn

import granian.net as _net
from granian.constants import Interfaces
from granian.server.embed import Server as _Embedded

_net_any: Any = _net
_BACKLOG = 128


class _Server(_Embedded):
    """On a socket of this machine alone, at any port."""

    def __init__(self, context: list[Any]) -> None:
        super().__init__(_nothing, interface=Interfaces.RSGI, websockets=False, log_enabled=False)
        self.ssl_ctx: Any = tuple(context)
        self.listener = socket.create_server(("127.0.0.1", 0))

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd = _net_any.SocketHolder(self.listener.detach(), False, _BACKLOG)
        self._sfd = self._shd.get_fd()


async def _nothing(scope: Any, protocol: Any) -> None:
    protocol.response_empty(404, [])


async def _handshake(context: list[Any]) -> bytes:
    server = _Server(context)
    port = server.listener.getsockname()[1]
    serving = asyncio.ensure_future(server.serve())
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE  # which certificate it is, is all that is asked
    loop = asyncio.get_running_loop()
    connecting = asyncio.ensure_future(loop.create_connection(_Looker, "127.0.0.1", port, ssl=client))
    await asyncio.wait({serving, connecting}, return_when=asyncio.FIRST_COMPLETED)
    return connecting.result()[1].seen


class _Looker(asyncio.Protocol):
    """Notes the certificate at once: a server that wants one of ours breaks off in the next moment."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.seen: bytes = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)


def main() -> NoReturn:
    """Entry point of the program."""
    code = 1
    try:
        seen = asyncio.run(_handshake(json.loads(sys.argv[1])))
        sys.stdout.write(seen.hex())
        code = 0
    except Exception as error:  # noqa: BLE001  # the edge of the process: OpenSSL, the client, may have said it
        sys.stderr.write(f"Error: {error!r}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # its server need not be ended in order


if __name__ == "__main__":
    main()
