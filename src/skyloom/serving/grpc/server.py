"""The gRPC server, in the event loop of the process.

HTTP/2 is spoken by `connection`, not by the package grpc, which takes several times the processor time to bring one row here
and its answer back.
"""

import asyncio
import ssl
import weakref
from collections.abc import Sequence
from importlib.resources import files

from skyloom.kernel.errors import UsageError
from skyloom.serving.contracts.open_inference_service import InferenceService
from skyloom.serving.grpc.calls import Around, streaming, unary
from skyloom.serving.grpc.connection import Connection
from skyloom.serving.grpc.health import HealthCalls
from skyloom.serving.grpc.inference import InferenceCalls
from skyloom.serving.grpc.proto import Protocol, read_protocol
from skyloom.serving.grpc.stream import Method
from skyloom.serving.services import Listen
from skyloom.serving.table import OPEN

_BACKLOG = 1_024
_LEAVING_S = 0.2
"""How long clients have to go elsewhere before new calls are refused (they send those again by themselves)."""
_HANDSHAKE_S = 10.0
_LOOK_S = 0.01
_SWEEP_S = 5.0


class GrpcServer:
    """Serves on a port that other processes of this server may listen on too: the kernel deals connections out to them.

    To be made, started and ended in the event loop.
    """

    def __init__(self, service: InferenceService, around: Around, longest: int, *, repository: bool) -> None:
        """``longest`` is the most bytes of a message; ``repository`` lets keys of administrators load and unload."""
        self._longest = around.longest = longest
        inference, health = _protocol("inference.proto"), _protocol("health.proto")
        self._inference = InferenceCalls(service, around, inference)
        calls = self._inference.unary(repository=repository)
        watched = HealthCalls(around, health, frozenset({inference.service, health.service}))
        self._methods: dict[str, Method] = {}
        for each in inference.methods:
            if each.name in calls:
                handle = unary(around, each.name, each.request, *calls[each.name])
                self._methods[f"/{inference.service}/{each.name}"] = Method(handle, False)
        asked = health.messages["HealthCheckRequest"]
        stream = streaming(around, "ModelStreamInfer", "predict", self._inference.stream)
        self._methods[f"/{inference.service}/ModelStreamInfer"] = Method(stream, True)
        self._methods[f"/{health.service}/Check"] = Method(unary(around, "Check", asked, OPEN, watched.check), False)
        self._methods[f"/{health.service}/Watch"] = Method(streaming(around, "Watch", OPEN, watched.watch), True)
        self._connections: set[Connection] = set()
        self._accepted: weakref.WeakSet[Connection] = weakref.WeakSet()
        """Those too that still shake hands."""
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def start(self, listen: Listen, tls: ssl.SSLContext | None = None) -> int:
        """Listen, with ``tls`` if given (which must offer ``h2`` by ALPN); the port. Raises `UsageError` when the address
        cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._connection,
                listen.address,
                listen.port,
                backlog=_BACKLOG,
                reuse_port=True,
                ssl=tls,
                ssl_handshake_timeout=_HANDSHAKE_S if tls else None,
            )
        except OSError as error:
            raise UsageError(
                f"{listen.address}:{listen.port} cannot be listened on for gRPC",
                tried=str(error),
                fix="choose another grpc_port",
            ) from error
        self._sweep()
        return int(self._server.sockets[0].getsockname()[1])

    def renew(self) -> None:
        """Send clients to new connections, since certificates have changed: those that there are end once the calls that
        were begun on them are answered. Clients of gRPC do that by themselves, and no call fails."""
        shaking = [each for each in self._accepted if each not in self._connections]
        self._leave(list(self._connections))
        asyncio.get_running_loop().call_later(_HANDSHAKE_S, self._leave, shaking)

    def _leave(self, leaving: Sequence[Connection]) -> None:
        leaving = [each for each in leaving if each in self._connections]
        for each in leaving:
            each.announce_end()
        asyncio.get_running_loop().call_later(_LEAVING_S, self._finish, leaving)

    def _finish(self, leaving: Sequence[Connection]) -> None:
        for each in leaving:
            if each in self._connections:
                each.finish()

    async def stop(self, within_s: float) -> None:
        """Take no more connections, send clients elsewhere, and wait for the calls that were begun; what is not done within
        the time is broken off."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        self._inference.end()
        if self._server is not None:
            self._server.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for each in self._connections:
            each.announce_end()
        await asyncio.sleep(min(_LEAVING_S, within_s))
        for each in list(self._connections):
            each.finish()
        while any(each.busy for each in self._connections) and loop.time() < until:
            await asyncio.sleep(_LOOK_S)
        for each in list(self._connections):
            each.abort()

    def _connection(self) -> asyncio.Protocol:
        made = Connection(self._methods, self._longest, self._connections)
        self._accepted.add(made)
        return made

    def _sweep(self) -> None:
        for each in list(self._connections):
            each.sweep()
        self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)


def _protocol(name: str) -> Protocol:
    return read_protocol((files("skyloom.serving.grpc") / name).read_text("utf-8"))
