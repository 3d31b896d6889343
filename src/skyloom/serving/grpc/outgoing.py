"""What a connection says: answers as far as the other side has room for them (RFC 9113, section 5.2), the rest later."""

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from skyloom.serving.grpc.frames import FIRST_FRAME, FIRST_WINDOW, MOST, Broken, Flag, Kind, Wrong, frame, widened
from skyloom.serving.grpc.requests import OPENING, refused
from skyloom.serving.grpc.status import Code, trailers
from skyloom.serving.grpc.stream import PREFIX, Stream

_MESSAGE = struct.Struct(">BI")
_LAST = trailers(Code.OK)
_ANSWER = struct.Struct(f">BHBBI{len(OPENING)}sBHBBIBI")
_CLOSE = struct.Struct(f">BHBBI{len(_LAST)}s")
_HEADERS, _DATA = int(Kind.HEADERS), int(Kind.DATA)
_WHOLE, _END = int(Flag.END_HEADERS), int(Flag.END_HEADERS | Flag.END_STREAM)


class Outgoing:
    """Writes to ``transport``; ``closed`` is told of each stream whose answer is whole."""

    def __init__(self, transport: Any, closed: Callable[[Stream], None]) -> None:
        self._transport, self._closed = transport, closed
        self._loop = asyncio.get_running_loop()
        self._window = self.first_window = FIRST_WINDOW
        self.frame = FIRST_FRAME
        self._waiting: dict[int, Stream] = {}
        self._said: list[bytes] = []
        self.paused_since: float | None = None

    def say(self, data: bytes) -> None:
        """Write soon, together with what else is said in this round of the event loop."""
        if not self._said:
            self._loop.call_soon(self.flush)
        self._said.append(data)

    def flush(self) -> None:
        """Write now."""
        if self._said:
            said = self._said[0] if len(self._said) == 1 else b"".join(self._said)
            self._said.clear()
            if not self._transport.is_closing():
                self._transport.write(said)

    def answer(self, stream: Stream, content: bytes) -> None:
        """A call's only message, and its end."""
        if stream.closed:
            return
        size = len(content) + PREFIX
        if size > self._window or size > stream.window or size > self.frame or self.paused_since is not None:
            self.put(stream, content)
            self.end(stream, Code.OK)
            return
        number = stream.number
        self._window -= size
        head = _ANSWER.pack(
            *(0, len(OPENING), _HEADERS, _WHOLE, number, OPENING), *(0, size, _DATA, 0, number), *(0, len(content))
        )
        self.say(head + content + _CLOSE.pack(0, len(_LAST), _HEADERS, _END, number, _LAST))
        self._closed(stream)

    def put(self, stream: Stream, content: bytes) -> None:
        """A message, behind those that wait already."""
        if stream.closed:
            return
        if not stream.begun:
            stream.begun = True
            self.say(frame(_HEADERS, _WHOLE, stream.number, OPENING))
        stream.out.append(memoryview(_MESSAGE.pack(0, len(content)) + content))
        self._pump(stream)

    def end(self, stream: Stream, code: Code, why: str = "") -> None:
        """The end of a call, behind its messages; when it failed, instead of what still waits of them."""
        if stream.closed:
            return
        if not stream.begun:
            self.say(frame(_HEADERS, _END, stream.number, refused(code, why)))
            self._closed(stream)
            return
        if code is not Code.OK:
            stream.out.clear()  # who gets an error does not read messages on
        stream.trailers = trailers(code, why)
        self._pump(stream)

    def widen(self, stream: Stream, by: int) -> None:
        """Let the other side send more of a call."""
        if not stream.heard:
            stream.room += by
            self.say(widened(stream.number, by))

    def forget(self, stream: Stream) -> None:
        """Nothing more goes out of a stream."""
        self._waiting.pop(stream.number, None)
        stream.went_out()

    def room(self, stream: Stream | None, by: int) -> None:
        """The other side takes more, of a stream or altogether. Raises `Broken` for more than a window may be."""
        if stream is not None:
            stream.window += by
            self._pump(stream)
            return
        self._window += by
        if self._window > MOST:
            raise Broken(Wrong.FLOW_CONTROL_ERROR)
        self.pump()

    def pump(self) -> None:
        """Send of all that waits what there is room for."""
        for stream in list(self._waiting.values()):
            self._pump(stream)

    def stuck(self, since: float) -> list[Stream]:
        """The streams that have waited for room since then."""
        return [stream for stream in self._waiting.values() if stream.stuck_since < since]

    def _pump(self, stream: Stream) -> None:
        out = stream.out
        while out and self.paused_since is None:
            rest = out[0]
            size = min(len(rest), self._window, stream.window, self.frame)
            if size <= 0:
                break
            self.say(frame(_DATA, 0, stream.number, bytes(rest[:size])))
            self._window -= size
            stream.window -= size
            stream.stuck_since = self._loop.time()
            if size == len(rest):
                out.popleft()
            else:
                out[0] = rest[size:]
        if out:
            if stream.number not in self._waiting:
                stream.stuck_since = self._loop.time()
                self._waiting[stream.number] = stream
            return
        self._waiting.pop(stream.number, None)
        stream.went_out()
        if stream.trailers is not None:
            self.say(frame(_HEADERS, _END, stream.number, stream.trailers))
            self._closed(stream)
