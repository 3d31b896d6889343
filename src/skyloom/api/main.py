"""The process of the API: ``python -m skyloom.api.main DIRECTORY PROFILE [SOCKET]``."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

from granian.constants import Interfaces

from skyloom.api.app import Application
from skyloom.api.routes import routes
from skyloom.engines.local import notify_ready, tie_to_parent
from skyloom.platform import open_platform
from skyloom.serving.listener import HttpServer, listening
from skyloom.serving.services import Listen


async def run(application: Application, listen: Listen) -> None:
    """Answer until SIGTERM or SIGINT; requests in flight are finished."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    with listening(listen) as listener:
        server = HttpServer(application.asgi, listener, Interfaces.ASGI)
        serving = asyncio.create_task(server.serve())
        notify_ready()
        await asyncio.wait({serving, asyncio.create_task(ending.wait())}, return_when=asyncio.FIRST_COMPLETED)
        server.stop()
        await asyncio.wait({serving}, timeout=5.0)


def main() -> None:
    """Entry point of the process."""
    tie_to_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    platform = open_platform(Path(sys.argv[1]), sys.argv[2])
    descriptor = int(sys.argv[3]) if len(sys.argv) > 3 else None
    asyncio.run(run(Application(platform, routes(platform)), Listen(port=platform.profile.api.port, descriptor=descriptor)))


if __name__ == "__main__":
    main()
