"""One serving process, from its start to its end."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn

from skyloom.kernel.errors import MissingExtra
from skyloom.serving.answering import Answering
from skyloom.serving.app import App
from skyloom.serving.bulk import BulkPredictor
from skyloom.serving.certificate_watch import CertificateWatch
from skyloom.serving.concurrency import Turns
from skyloom.serving.contracts.catalog import Parts, endpoints_of
from skyloom.serving.contracts.open_inference_service import InferenceService
from skyloom.serving.copy import COPY, Copy
from skyloom.serving.exchange import Exchange
from skyloom.serving.http import HttpServer
from skyloom.serving.ingestion import Ingestion
from skyloom.serving.life import Life
from skyloom.serving.listener import listening
from skyloom.serving.loader import Around, Loader
from skyloom.serving.logbook import Logbook
from skyloom.serving.logs import log_to_stderr
from skyloom.serving.loop import run
from skyloom.serving.metrics import Metrics
from skyloom.serving.obey import Obedience
from skyloom.serving.predict import Predictor
from skyloom.serving.quarantine import Quarantine
from skyloom.serving.ratelimit import Rates
from skyloom.serving.services import Services
from skyloom.serving.shadow import Shadow
from skyloom.serving.slices import answer_first, work_long
from skyloom.serving.standing import PROCESSES, StandingFile
from skyloom.serving.table import Table
from skyloom.serving.traces import Exporter, TracedLogbook, Watch

if TYPE_CHECKING:
    from skyloom.serving.grpc.server import GrpcServer

_log = logging.getLogger("skyloom.serving")

_SILENT_S = 1.0
"""How long connections that have not sent a whole head yet are waited for."""
_LOOK_S = 0.01
_LAST_TRACES_S = 1.0
"""How long a process that ends waits for a collector."""
_COLLECTED = (20_000, 20, 50)
"""How many new objects make the collector look at the young ones, and how often that makes it look at older ones."""
_SWITCH_S = 0.001
"""How long a thread that scores may keep the interpreter from the event loop."""


def serve(services: Services) -> NoReturn:
    """Serve until SIGTERM or SIGINT, then drain and end the process: 0, or 1 when something was lost.

    Drained means: not ready any more, requests in flight answered, every receipt in the log (others wait on the
    disk). It takes at most ``lame_duck_seconds + drain_seconds`` of the limits. To be called by the main thread.
    """
    log_to_stderr(services.watching.logs)
    sys.setswitchinterval(_SWITCH_S)
    clean = run(Worker(services).run())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if clean else 1)  # threads that score may still run, and cannot outlive an interpreter that is taken apart


class Worker:
    """The parts of one serving process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        limits, clock = services.limits, services.clock
        metrics = self._metrics = Metrics(among_others=services.watching.among_others)
        executor = ThreadPoolExecutor(4, "work", work_long)
        self._life = Life()
        watching = services.watching
        self._exporter = Exporter(watching.traces, metrics) if watching.traces else None
        logbook = TracedLogbook if self._exporter else Logbook
        self._logbook = logbook(services.log, clock, metrics, services.logbook, secret=services.secret, room=limits.logbook)
        self._shadow = Shadow(self._logbook, metrics, limits.shadow)
        self._quarantine = Quarantine(services.served / "crashes", clock, limits.scoring_seconds)
        kept = Copy(services.served / COPY, services.objects)
        loader = Loader(kept, services.verifier, services.online, clock, Around(limits.trial, self._quarantine))
        self._obedience = Obedience(
            services.objects, loader, kept, StandingFile(services.served / PROCESSES), clock, metrics
        )
        predictor, bulk = (
            Predictor(self._logbook, self._shadow, clock, metrics, traced=self._exporter is not None),
            BulkPredictor(self._logbook, clock, metrics),
        )
        answering = Answering(predictor, bulk, Turns(metrics, limits.patience_seconds), executor)
        self._inference = InferenceService(answering, self._life, clock)
        ingestion = Ingestion(services.log, clock, metrics, executor)
        exchange = Exchange(answering, executor, services.model, limits.body_bytes)
        parts = Parts(answering, exchange, self._inference, ingestion, self._life, metrics, limits, services.environ)
        endpoints = endpoints_of(parts, services.contracts, trust_platform=services.trust_platform)
        self._table = Table(endpoints)
        self._rates = Rates(services.served / "rates")
        self._watch = Watch(watching, self._exporter) if watching.is_on else None
        self._app = App(self._table, self._obedience, self._life, metrics, limits, self._rates, self._watch)

    async def run(self) -> bool:
        """Serve until a signal; whether everything was finished and written."""
        loop = asyncio.get_running_loop()
        asked_to_end = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked_to_end.set)
        certificates = await self._certificates()
        with listening(self._services.listen) as listener:
            self._services.on_listen(listener.getsockname()[1])
            self._logbook.start()
            self._start_traces()
            self._shadow.start()
            self._quarantine.start()
            await asyncio.to_thread(self._obedience.look)  # who connects meanwhile waits, and finds a release
            _spare_the_collector()
            grpc = await self._grpc(certificates)
            self._obedience.start(lambda: loop.call_soon_threadsafe(self._services.on_ready))
            answer_first()
            server = self._server(listener, certificates)
            following = self._follow(certificates, server, grpc)
            serving = asyncio.create_task(server.serve())
            ending = asyncio.create_task(asked_to_end.wait())
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if following is not None:
                following.cancel()
            return await self._drain(server, serving, grpc)

    def _start_traces(self) -> None:
        if self._exporter is not None:
            self._exporter.start()

    async def _end_traces(self, within_s: float) -> None:
        """Send what is left, but wait for no collector that is slow."""
        if self._exporter is not None:
            await asyncio.to_thread(self._exporter.close, min(max(within_s, 0.0), _LAST_TRACES_S))

    async def _certificates(self) -> CertificateWatch | None:
        """Those to speak TLS with. Raises `UsageError` for what cannot be served."""
        files = self._services.tls
        return None if files is None else await asyncio.to_thread(CertificateWatch, files, self._metrics.registry)

    def _server(self, listener: socket.socket, certificates: CertificateWatch | None) -> HttpServer:
        limits = self._services.limits
        tls = certificates.context("http/1.1") if certificates else None
        return HttpServer(self._app.answer, self._app.explain, listener, head_s=limits.head_seconds, tls=tls)

    def _follow(
        self, certificates: CertificateWatch | None, server: HttpServer, grpc: "GrpcServer | None"
    ) -> asyncio.Task[NoReturn] | None:
        """Let new connections see changed certificates, and let those that saw others end in time."""
        if certificates is None:
            return None
        limits = self._services.limits

        def renew() -> None:
            server.leave_behind(limits.linger_seconds)
            if grpc is not None:
                grpc.renew()

        return asyncio.create_task(certificates.follow(limits.look_seconds, renew))

    async def _grpc(self, certificates: CertificateWatch | None) -> "GrpcServer | None":
        """The gRPC server, listening, where one is wanted."""
        listen = self._services.grpc
        if listen is None:
            return None
        try:
            from skyloom.serving.grpc.calls import Around
            from skyloom.serving.grpc.server import GrpcServer
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "grpc", "grpc") from error
        around = Around(self._obedience, self._life, self._metrics, rates=self._rates, watch=self._watch)
        wanted = "repository" in self._services.contracts
        server = GrpcServer(self._inference, around, self._services.limits.tensor_bytes, repository=wanted)
        self._services.on_grpc(await server.start(listen, certificates.context("h2") if certificates else None))
        return server

    async def _drain(self, server: HttpServer, serving: asyncio.Task[None], grpc: "GrpcServer | None") -> bool:
        self._life.ending = True
        server.say_goodbye()
        if self._services.listen.descriptor is not None:
            server.stop_accepting()  # others hold the socket too: who connects now waits for them
        await asyncio.sleep(self._services.limits.lame_duck_seconds)
        deadline = time.monotonic() + self._services.limits.drain_seconds
        server.stop()
        stopping = asyncio.create_task(grpc.stop(self._services.limits.drain_seconds)) if grpc else None
        await asyncio.wait({serving}, timeout=_SILENT_S)
        while self._life.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
        if stopping is not None:
            await asyncio.wait({stopping}, timeout=max(deadline - time.monotonic(), 0.0))
        unfinished = self._life.in_flight
        if unfinished:
            _log.error("%d requests could not be finished before the end", unfinished)
        self._obedience.close()
        logged = await asyncio.to_thread(self._logbook.close, max(deadline - time.monotonic(), 0.5))
        await self._end_traces(deadline - time.monotonic())
        self._quarantine.close()
        await server.abort()
        return logged and not unfinished


def _spare_the_collector() -> None:
    """What is loaded by now stays, so Python's collector of cycles need not look at it again; and it looks seldom, since
    requests leave hardly any."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED)
