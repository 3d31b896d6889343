"""One call: what came of it, and what goes out."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from skyloom.serving.grpc.status import Code
from skyloom.serving.wire import Headers

PREFIX = 5
"""Bytes before a message: whether it is packed, and its length."""


class Message(NamedTuple):
    """A message, packed as the call's ``grpc-encoding`` says or not."""

    packed: bool
    content: bytes


class Method(NamedTuple):
    """What answers the calls of a path; one that ``streams`` begins before the first message came."""

    handle: "Callable[[Stream], Coroutine[Any, Any, None]]"
    streams: bool


class Head(NamedTuple):
    """What the headers of a call say. ``seconds`` is how long its caller waits. ``refusal``, if any, is how it ends at once;
    ``wrong``: these are no headers of a request."""

    method: Method | None
    headers: Headers
    seconds: float | None = None
    refusal: bytes = b""
    wrong: bool = False


class Way(Protocol):
    """The connection of a call, as it uses it."""

    def answer(self, stream: "Stream", content: bytes) -> None: ...

    def put(self, stream: "Stream", content: bytes) -> None: ...

    def end(self, stream: "Stream", code: Code, why: str = "") -> None: ...

    def widen(self, stream: "Stream", by: int) -> None: ...


class Stream:
    """A call. It ends with `answer` or `end`, or because its caller leaves: then what handles it is cancelled."""

    def __init__(self, way: Way, number: int, head: Head, came: float) -> None:
        self._way, self.number, self.head, self.came = way, number, head, came
        self.message = Message(False, b"")
        """Of a call that brings one."""
        self.buffer = bytearray()
        self.room = self.window = 0
        """Bytes that may still come, and go."""
        self.heard = self.begun = self.closed = False
        """Whether all of it came, whether the head of its answer went out, and whether it is over."""
        self.out: deque[memoryview] = deque()
        self.stuck_since = 0.0
        """What waits to go, and since when none of it went."""
        self.trailers: bytes | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._inbox: deque[Message] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None

    @property
    def metadata(self) -> Headers:
        """The headers of the call, by their names."""
        return self.head.headers

    def time_remaining(self) -> float | None:
        """Seconds until the caller waits no longer; ``None``: it has not said."""
        if self.head.seconds is None:
            return None
        return self.came + self.head.seconds - asyncio.get_running_loop().time()

    def answer(self, content: bytes) -> None:
        """One message, and the end of the call."""
        self._way.answer(self, content)

    def end(self, code: Code, why: str = "") -> None:
        """The end of the call."""
        self._way.end(self, code, why)

    async def send(self, content: bytes) -> None:
        """One message of several; waits until the other side takes it."""
        self._way.put(self, content)
        if self.out:
            self._gone = asyncio.get_running_loop().create_future()
            await self._gone

    async def messages(self) -> AsyncIterator[Message]:
        """What comes, in order."""
        while True:
            while self._inbox:
                message = self._inbox.popleft()
                self._way.widen(self, len(message.content) + PREFIX)
                yield message
            if self.heard:
                return
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    def push(self, message: Message) -> None:
        """A message came."""
        self._inbox.append(message)

    def came_in(self) -> None:
        """Wake who waits for messages."""
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def went_out(self) -> None:
        """Wake who waits until its message is gone."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
