"""The gRPC server (grpc.aio), in the event loop of the process."""

import asyncio
from importlib.resources import files
from typing import Any

import grpc as _grpc
from grpc import aio as _aio

from skyloom.kernel.errors import UsageError
from skyloom.serving.contracts.open_inference_service import InferenceService
from skyloom.serving.grpc.calls import Around, reader, streaming, unary
from skyloom.serving.grpc.health import HealthCalls
from skyloom.serving.grpc.inference import InferenceCalls
from skyloom.serving.grpc.proto import Method, Protocol, read_protocol
from skyloom.serving.services import Listen
from skyloom.serving.table import OPEN

_rpc: Any = _grpc  # it ships no types
_server: Any = _aio.server

_REFUSING_S = 0.2
"""How long new calls are refused, so that their clients go elsewhere, before the server stops."""


class GrpcServer:
    """Serves on a port that other processes of this server may listen on too: the kernel deals connections out to them.

    To be made, started and ended in the event loop.
    """

    def __init__(self, service: InferenceService, around: Around, longest: int, *, repository: bool) -> None:
        """``longest`` is the most bytes of a message; ``repository`` lets keys of administrators load and unload."""
        self._around = around
        inference, health = _protocol("inference.proto"), _protocol("health.proto")
        self._inference = InferenceCalls(service, around, inference)
        self._health = HealthCalls(around, health, frozenset({inference.service, health.service}))
        self._server = _server(
            options=[
                ("grpc.max_receive_message_length", longest),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 1),
            ]
        )
        calls = self._inference.unary(repository=repository)
        handlers = {
            method.name: _handler(method, unary(around, method.name, *calls[method.name]))
            for method in inference.methods
            if method.name in calls
        }
        stream = _method(inference, "ModelStreamInfer")
        handlers[stream.name] = _handler(stream, streaming(around, stream.name, "predict", self._inference.stream))
        check, watch = _method(health, "Check"), _method(health, "Watch")
        healthy = {
            check.name: _handler(check, unary(around, "Check", OPEN, self._health.check)),
            watch.name: _handler(watch, streaming(around, "Watch", OPEN, self._health.watch)),
        }
        for name, each in ((inference.service, handlers), (health.service, healthy)):
            self._server.add_generic_rpc_handlers((_rpc.method_handlers_generic_handler(name, each),))

    async def start(self, listen: Listen) -> int:
        """Listen; the port. Raises `UsageError` when the address cannot be had."""
        address = f"[{listen.address}]" if ":" in listen.address else listen.address
        try:
            port = self._server.add_insecure_port(f"{address}:{listen.port}")
        except RuntimeError as error:
            raise UsageError(
                f"{address}:{listen.port} cannot be listened on for gRPC",
                tried=str(error),
                fix="choose another grpc_port",
            ) from error
        await self._server.start()
        return port

    async def stop(self, within_s: float) -> None:
        """Take no more calls, and wait for those that were begun; what is not done within the time is broken off."""
        self._around.refusing = True
        self._inference.end()
        await asyncio.sleep(min(_REFUSING_S, within_s))
        await self._server.stop(within_s)


def _protocol(name: str) -> Protocol:
    return read_protocol((files("skyloom.serving.grpc") / name).read_text("utf-8"))


def _method(protocol: Protocol, name: str) -> Method:
    return next(each for each in protocol.methods if each.name == name)


def _handler(method: Method, handle: Any) -> Any:
    if method.streams_in:
        kind = _rpc.stream_stream_rpc_method_handler
    elif method.streams_out:
        kind = _rpc.unary_stream_rpc_method_handler
    else:
        kind = _rpc.unary_unary_rpc_method_handler
    return kind(handle, request_deserializer=reader(method.request), response_serializer=_bytes_of)


def _bytes_of(message: Any) -> bytes:
    return message.SerializeToString()
