"""The bare server that serving is compared with: Granian, RSGI, the same event loop, the body back.

``python -m bench.echo PORT``
"""

import sys

from granian.constants import Interfaces
from granian.server.embed import Server

from skyloom.serving.loop import run


async def app(scope, protocol) -> None:
    """Answer a request with its own body."""
    protocol.response_bytes(200, [("content-type", "application/json")], await protocol())


if __name__ == "__main__":
    run(Server(app, port=int(sys.argv[1]), interface=Interfaces.RSGI, log_enabled=False).serve())
