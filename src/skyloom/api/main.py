"""The process of the API: ``python -m skyloom.api.main DIRECTORY PROFILE [SOCKET]``."""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from prometheus_client import CollectorRegistry

from skyloom.api.app import Application
from skyloom.api.routes import routes
from skyloom.engines.local import notify_ready, tie_to_parent
from skyloom.platform import open_platform
from skyloom.runtime.addresses import certificate_files
from skyloom.serving.certificate_watch import CertificateWatch
from skyloom.serving.certificates import CertificateFiles, Pair
from skyloom.serving.listener import HttpServer, listening
from skyloom.serving.rotation import RotatingServer
from skyloom.serving.services import Limits, Listen


class Closable:
    """An application of ASGI whose connections (of HTTP/1) end after an answer, once it is ``closing``."""

    def __init__(self, asgi: Any) -> None:
        self._asgi, self.closing = asgi, False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if self.closing and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._asgi(scope, receive, answer)


async def run(application: Application, listen: Listen, tls: CertificateFiles | None = None) -> None:
    """Answer until SIGTERM or SIGINT; requests in flight are finished. Raises `UsageError` for certificates that no server
    can speak TLS with."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    watch = None if tls is None else await asyncio.to_thread(CertificateWatch, tls, CollectorRegistry())
    with listening(listen) as listener:

        def begin(pair: Pair | None) -> HttpServer:
            return HttpServer(Closable(application.asgi), listener, Interfaces.ASGI, pair=pair)

        server = RotatingServer(begin, watch, listener, Limits()) if watch else begin(None)
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
    api = platform.profile.api
    application = Application(platform, routes(platform))
    files = certificate_files(platform.directory, api.tls)
    asyncio.run(run(application, Listen(api.address, api.port, descriptor), files))


if __name__ == "__main__":
    main()
