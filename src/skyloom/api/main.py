"""The process of the API: ``python -m skyloom.api.main DIRECTORY PROFILE [SOCKET]``."""

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from skyloom.api.app import Application
from skyloom.api.asgi import Asgi
from skyloom.api.routes import routes
from skyloom.engines.local import notify_ready, tie_to_parent
from skyloom.platform import open_platform
from skyloom.runtime.addresses import certificate_files
from skyloom.serving.certificate_watch import CertificateWatch
from skyloom.serving.certificates import CertificateFiles
from skyloom.serving.http import HttpServer
from skyloom.serving.listener import listening
from skyloom.serving.loop import run
from skyloom.serving.services import Limits, Listen

_SILENT_S = 1.0
"""How long connections that ask nothing are waited for."""
_DRAIN_S = 4.0
"""How long, after that, requests may take to be answered."""


async def serve(application: Application, listen: Listen, tls: CertificateFiles | None = None) -> None:
    """Answer until SIGTERM or SIGINT; requests in flight are finished. Raises `UsageError` for certificates that no server
    can speak TLS with."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    limits = Limits()
    watch = None if tls is None else await asyncio.to_thread(CertificateWatch, tls, CollectorRegistry())
    with listening(listen) as listener:
        asgi = Asgi(application.asgi, application.explain)
        context = watch.context("http/1.1") if watch else None
        server = HttpServer(asgi.answer, application.explain, listener, head_s=limits.head_seconds, tls=context)
        work = [asyncio.create_task(server.serve()), asyncio.create_task(ending.wait())]
        if watch:
            follow = watch.follow(limits.look_seconds, lambda: server.leave_behind(limits.linger_seconds))
            work.append(asyncio.create_task(follow))
        notify_ready()
        done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()  # a server that ends by itself has failed
        server.stop()
        await asyncio.wait(work[:1], timeout=_SILENT_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asgi.idle(), _DRAIN_S)


def main() -> None:
    """Entry point of the process."""
    tie_to_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    platform = open_platform(Path(sys.argv[1]), sys.argv[2])
    descriptor = int(sys.argv[3]) if len(sys.argv) > 3 else None
    api = platform.profile.api
    application = Application(platform, routes(platform))
    files = certificate_files(platform.directory, api.tls)
    run(serve(application, Listen(api.address, api.port, descriptor), files))


if __name__ == "__main__":
    main()
