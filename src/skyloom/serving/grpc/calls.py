"""What every call has around it: its key, its deadline, its metrics, and the status that an error becomes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from skyloom.kernel.errors import SkyloomError
from skyloom.serving.compression import unpack
from skyloom.serving.deadlines import begin
from skyloom.serving.grpc.status import CODES, Code
from skyloom.serving.grpc.stream import Message, Stream
from skyloom.serving.life import Life
from skyloom.serving.loaded import LoadedRelease
from skyloom.serving.metrics import Metrics
from skyloom.serving.obey import Obedience
from skyloom.serving.ratelimit import Rates
from skyloom.serving.table import OPEN
from skyloom.serving.traces import Underway, Watch, over_grpc
from skyloom.serving.wire import Headers, Problem, presented_key, status_of

_log = logging.getLogger("skyloom.serving")

ENDING = "this process is ending"
BROKEN = "this server failed to answer; its log says why"


class Called(Protocol):
    """What is looked at of a call before it is answered."""

    @property
    def metadata(self) -> Headers: ...

    def time_remaining(self) -> float | None: ...


@dataclass
class Around:
    """What calls share. ``longest`` is the most bytes of a message once it is unpacked."""

    obedience: Obedience
    life: Life
    metrics: Metrics
    rates: Rates | None = None
    longest: int = 0
    watch: Watch | None = None
    meters: dict[tuple[str, Code], tuple[Any, Any]] = field(default_factory=dict[tuple[str, Code], tuple[Any, Any]])

    def release_for(self, call: Called, policy: str) -> LoadedRelease | None:
        """The release that a call is answered with, once its key is checked. Raises `Problem` with 503 when a key is needed
        and there is no release yet, with 504 when nobody waits any more, and what the check of the key raises."""
        left = call.time_remaining()
        if left is not None:
            if left <= 0:
                raise Problem(504, "the deadline has passed")
            begin(left)
        loaded = self.obedience.now
        if policy == OPEN:
            return loaded
        if loaded is None:
            raise Problem(503, "nothing has been released to this server yet")
        key = loaded.keys.check(presented_key(call.metadata), policy)
        if self.rates is not None:
            self.rates.take(key)
        return loaded

    def begin(self, call: Called) -> Underway | None:
        """Let a call be under way, where calls are known by more than their number."""
        return None if self.watch is None else self.watch.begin(call.metadata)

    def count(self, route: str, code: Code, started: float, now: Underway | None) -> None:
        """Count a call that began at ``started`` (of `time.perf_counter`)."""
        meters = self.meters.get((route, code))
        if meters is None:
            meters = self.metrics.requests.labels(route, code.name), self.metrics.seconds.labels(route)
            self.meters[route, code] = meters
        meters[0].inc()
        meters[1].observe(time.perf_counter() - started, None if now is None else now.exemplar)

    def end(self, call: Called, code: Code, started: float, now: Underway | None) -> None:
        """What `begin` began."""
        if now is not None and self.watch is not None:
            path: str = call.metadata.get(":path", "")
            self.watch.end(now, started, over_grpc, path.removeprefix("/"), code.name)

    async def read(self, kind: Any, message: Message, call: Called) -> Any:
        """A message of a class. Raises `Problem` for what is none."""
        content = message.content
        if message.packed:  # this may take long: not on the event loop
            packing = call.metadata.get("grpc-encoding", "")
            content = await asyncio.to_thread(unpack, content, packing, self.longest)
        try:
            return kind.FromString(content)
        except DecodeError as error:
            raise Problem(400, f"this is no {kind.DESCRIPTOR.name}: {error}") from error


Answer = Callable[[Any, LoadedRelease | None], Awaitable[Any]]
Answers = Callable[[AsyncIterator[Message], Stream], AsyncIterator[Any]]
Handle = Callable[[Stream], Coroutine[Any, Any, None]]


def why(error: Exception, name: str) -> tuple[Code, str]:
    """An error as those outside are told; one that nobody foresaw is logged."""
    if isinstance(error, Problem):
        return CODES.get(error.status, Code.INTERNAL), error.why
    if isinstance(error, SkyloomError):
        return CODES.get(status_of(error), Code.INTERNAL), error.what
    _log.error("gRPC %s could not be answered", name, exc_info=error)
    return Code.INTERNAL, BROKEN


def unary(around: Around, name: str, kind: Any, policy: str, answer: Answer) -> Handle:
    """A handler of a call with one request (a message of a class ``kind``) and one answer."""
    route = f"grpc/{name}"

    async def handle(stream: Stream) -> None:
        started = time.perf_counter()
        around.life.in_flight += 1
        code, now = Code.CANCELLED, None
        try:
            now = around.begin(stream)
            loaded = around.release_for(stream, policy)
            made = await answer(await around.read(kind, stream.message, stream), loaded)
            stream.answer(made.SerializeToString())
            code = Code.OK
        except Exception as error:  # noqa: BLE001  # the edge of a request: whatever it met, the others go on
            code, told = why(error, name)
            stream.end(code, told)
        finally:
            around.life.in_flight -= 1
            around.count(route, code, started, now)
            around.end(stream, code, started, now)

    return handle


def streaming(around: Around, name: str, policy: str, answers: Answers) -> Handle:
    """A handler of a call with many answers: its key is checked before the first."""

    async def handle(stream: Stream) -> None:
        try:
            around.release_for(stream, policy)
            async for each in answers(stream.messages(), stream):
                await stream.send(each.SerializeToString())
            stream.end(Code.OK)
        except Exception as error:  # noqa: BLE001  # as above
            stream.end(*why(error, name))

    return handle
