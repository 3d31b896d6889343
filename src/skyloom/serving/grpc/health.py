"""The calls of ``grpc.health.v1.Health``: whether to send requests here."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from skyloom.serving.grpc.calls import Around
from skyloom.serving.grpc.proto import Protocol
from skyloom.serving.grpc.stream import Message, Stream
from skyloom.serving.loaded import LoadedRelease
from skyloom.serving.wire import Problem

_LOOK_S = 0.1


class HealthCalls:
    """Speaks for the process (no service named) and for ``services``."""

    def __init__(self, around: Around, protocol: Protocol, services: frozenset[str]) -> None:
        self._around, self._services = around, services
        self._request = protocol.messages["HealthCheckRequest"]
        self._response = protocol.messages["HealthCheckResponse"]

    async def check(self, request: Any, loaded: LoadedRelease | None) -> Any:
        status = self._status(request.service)
        if status == "SERVICE_UNKNOWN":
            raise Problem(404, f"there is no service {request.service}")
        return self._response(status=status)

    async def watch(self, messages: AsyncIterator[Message], call: Stream) -> AsyncIterator[Any]:
        """The status now, and each time that it changes; the end of the process is the last."""
        message = await anext(messages, Message(False, b""))
        request = await self._around.read(self._request, message, call)
        told = ""
        while True:
            status = self._status(request.service)
            if status != told:
                told = status
                yield self._response(status=status)
            if self._around.life.ending:
                return
            await asyncio.sleep(_LOOK_S)

    def _status(self, service: str) -> str:
        if service and service not in self._services:
            return "SERVICE_UNKNOWN"
        return "NOT_SERVING" if self._around.life.not_ready(self._around.obedience.now) else "SERVING"
