"""The bare server that serving is compared with: Granian, RSGI, the body back. ``python -m bench.echo PORT``."""

import asyncio
import sys

from granian.constants import Interfaces
from granian.server.embed import Server


async def app(scope, protocol) -> None:
    """Answer a request with its own body."""
    protocol.response_bytes(200, [("content-type", "application/json")], await protocol())


if __name__ == "__main__":
    asyncio.run(Server(app, port=int(sys.argv[1]), interface=Interfaces.RSGI, log_enabled=False).serve())
