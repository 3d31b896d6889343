"""What every call has around it: its key, its deadline, its metrics, and the status that an error becomes."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc as _grpc
from google.protobuf.message import DecodeError

from skyloom.kernel.errors import SkyloomError
from skyloom.serving.deadlines import begin
from skyloom.serving.life import Life
from skyloom.serving.loaded import LoadedRelease
from skyloom.serving.metrics import Metrics
from skyloom.serving.obey import Obedience
from skyloom.serving.ratelimit import Rates
from skyloom.serving.table import OPEN
from skyloom.serving.wire import Problem, presented_key, status_of

_log = logging.getLogger("skyloom.serving")

_rpc: Any = _grpc  # it ships no types
CODE: Any = _rpc.StatusCode
_CODES = {
    400: CODE.INVALID_ARGUMENT,
    401: CODE.UNAUTHENTICATED,
    403: CODE.PERMISSION_DENIED,
    404: CODE.NOT_FOUND,
    409: CODE.ABORTED,
    413: CODE.RESOURCE_EXHAUSTED,
    422: CODE.OUT_OF_RANGE,
    429: CODE.RESOURCE_EXHAUSTED,
    503: CODE.UNAVAILABLE,
    504: CODE.DEADLINE_EXCEEDED,
}
ENDING = "this process is ending"
BROKEN = "this server failed to answer; its log says why"


@dataclass
class Around:
    """What calls share. ``refusing`` is set shortly before the server stops: what it then cuts off would be cancelled, and
    clients send again what is refused, but not that."""

    obedience: Obedience
    life: Life
    metrics: Metrics
    refusing: bool = False
    rates: Rates | None = None

    def release_for(self, context: Any, policy: str) -> LoadedRelease | None:
        """The release that a call is answered with, once its key is checked. Raises `Problem` with 503 when a key is needed
        and there is no release yet, with 504 when nobody waits any more, and what the check of the key raises."""
        left = context.time_remaining()
        if left is not None and left <= 0:
            raise Problem(504, "the deadline has passed")
        begin(left)
        loaded = self.obedience.now
        if policy == OPEN:
            return loaded
        if self.refusing:
            raise Problem(503, ENDING)
        if loaded is None:
            raise Problem(503, "nothing has been released to this server yet")
        key = loaded.keys.check(presented_key(dict(context.invocation_metadata() or ())), policy)
        if self.rates is not None:
            self.rates.take(key)
        return loaded


Answer = Callable[[Any, LoadedRelease | None], Awaitable[Any]]


def why(error: Exception, name: str) -> Problem:
    """An error as those outside are told; one that nobody foresaw is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, SkyloomError):
        return Problem(status_of(error), error.what)
    _log.error("gRPC %s could not be answered", name, exc_info=error)
    return Problem(500, BROKEN)


def reader(message: Any) -> Callable[[bytes], Any]:
    """Reads messages of a class; what is none becomes a `Problem`, to be told by the call that it was sent to."""

    def read(content: bytes) -> Any:
        try:
            return message.FromString(content)
        except DecodeError as error:
            return Problem(400, f"this is no {message.DESCRIPTOR.name}: {error}")

    return read


def unary(around: Around, name: str, policy: str, answer: Answer) -> Callable[[Any, Any], Awaitable[Any]]:
    """A handler of a call with one request and one answer."""
    route = f"grpc/{name}"

    async def handle(request: Any, context: Any) -> Any:
        started = time.perf_counter()
        around.life.in_flight += 1
        code = "OK"
        try:
            if isinstance(request, Problem):
                raise request
            return await answer(request, around.release_for(context, policy))
        except Exception as error:  # noqa: BLE001  # the edge of a request: whatever it met, the others go on
            told = why(error, name)
            status = _CODES.get(told.status, CODE.INTERNAL)
            code = status.name
            await context.abort(status, told.why)
        finally:
            around.life.in_flight -= 1
            around.metrics.requests.labels(route, code).inc()
            around.metrics.seconds.labels(route).observe(time.perf_counter() - started)

    return handle


def streaming(
    around: Around, name: str, policy: str, answers: Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]
) -> Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]:
    """A handler of a call with many answers: its key is checked before the first."""

    async def handle(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        try:
            around.release_for(context, policy)
            async for each in answers(requests, context):
                yield each
        except Exception as error:  # noqa: BLE001  # as above
            told = why(error, name)
            await context.abort(_CODES.get(told.status, CODE.INTERNAL), told.why)

    return handle
