"""Applications of ASGI (3.0) on our HTTP server: what they ask is told of a request, and what they send becomes its answer.

There is no lifespan and there are no web sockets: the API has use for neither.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from skyloom.serving.http import BrokenOff, Headers, Request, Stream, own_task

_log = logging.getLogger("skyloom.api")

Message = dict[str, Any]
Application = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
Explain = Callable[[int, str], tuple[int, Headers, bytes]]

_GONE: Message = {"type": "http.disconnect"}
_OF_THE_SERVER = frozenset({"connection", "content-length", "date", "keep-alive", "transfer-encoding"})
_BODILESS = frozenset({204, 304})
_NOT_IN_A_LINE = frozenset("\r\n\0")


class Gone(ConnectionError):
    """The client has left; nobody hears what an application sends."""


class Asgi:
    """What an `HttpServer` hands requests to. An application may fail in any way: each request is answered, or its
    connection broken where an answer was begun."""

    def __init__(self, application: Application, explain: Explain) -> None:
        """``explain`` makes the answer that says that the application failed, of a status and why."""
        self._application, self._explain = application, explain
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def answer(self, request: Request) -> None:
        """Answer a request."""
        self._in_flight += 1
        self._idle.clear()
        answer = _Answer(request)
        body = _Body(request, answer)
        try:
            await own_task()
            await self._application(scope_of(request), body.receive, answer.send)
            if not (answer.is_over or request.has_left):
                _log.error("%s %s: the application ended without a whole answer", request.method, request.path)
        except Gone:
            _log.info("%s %s: the client left before its answer was whole", request.method, request.path)
        except Exception:  # noqa: BLE001  # the edge of a request: whatever it met, the others go on
            _log.exception("%s %s could not be answered", request.method, request.path)
        finally:
            answer.end(self._explain)
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def idle(self) -> None:
        """Return when no request is being answered."""
        await self._idle.wait()


def scope_of(request: Request) -> Message:
    """What an application is told of a request before it reads its body."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.version,
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": raw_path(request.target),
        "query_string": request.query.encode("ascii"),
        "root_path": "",
        "headers": [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()],
        "client": request.client,
        "server": request.server,
    }


def raw_path(target: bytes) -> bytes:
    """The path as it stood in a target, which is one, or a whole address of one.

    >>> raw_path(b"/a%20b?x=1"), raw_path(b"http://host:80/a?x"), raw_path(b"http://host")
    (b'/a%20b', b'/a', b'/')
    """
    path = target.partition(b"?")[0]
    if path.startswith(b"/") or path == b"*":
        return path
    return b"/" + path.partition(b"://")[2].partition(b"/")[2]


class _Body:
    """What an application receives."""

    def __init__(self, request: Request, answer: "_Answer") -> None:
        self._request, self._answer = request, answer
        self._is_read = False
        self._turn = asyncio.Lock()

    async def receive(self) -> Message:
        """A piece of the body; after the last, or when it breaks off: that nobody listens any more, once that is so."""
        request = self._request
        async with self._turn:
            if self._answer.is_over:
                return _GONE
            if self._is_read:
                await request.left()
                return _GONE
            try:
                piece = b"".join(await request.chunks())
            except BrokenOff:
                return _GONE
            self._is_read = request.whole
            return {"type": "http.request", "body": piece, "more_body": not request.whole}


class _Answer:
    """What an application sends. Raises `Gone` when the client has left amid its answer, and `RuntimeError` for what ASGI
    does not allow."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._status = 0
        self._headers: Headers = []
        self._length: int | None = None
        """How many bytes the application says that its answer has."""
        self._sent = 0
        self._stream: Stream | None = None
        self.is_over = False

    async def send(self, message: Message) -> None:
        """One message of the application."""
        kind = message["type"]
        if self.is_over:
            raise RuntimeError(f"{kind} was sent after the end of the answer")
        if kind == "http.response.start":
            self._begin(message)
        elif kind != "http.response.body":
            raise RuntimeError(f"{kind} cannot be sent over HTTP")
        elif not self._status:
            raise RuntimeError("a body was sent before the start of the answer")
        else:
            await self._add(bytes(message.get("body", b"")), more=bool(message.get("more_body", False)))

    def end(self, explain: Explain) -> None:
        """There comes no more. What is not answered is answered now."""
        if self.is_over:
            return
        if self._stream is not None:
            self._stream.end(whole=False)
        else:
            self._request.respond(*explain(500, "the application failed to answer; its log says why"))
        self._finish()

    def _begin(self, message: Message) -> None:
        status = message["status"]
        if self._status:
            raise RuntimeError("the start of the answer was sent twice")
        if not 200 <= status <= 599:
            raise RuntimeError(f"{status!r} is no status of an answer")
        for name, value in message.get("headers", ()):
            word, text = name.decode("latin-1").lower(), value.decode("latin-1")
            if _NOT_IN_A_LINE.intersection(word + text):
                raise RuntimeError(f"the header {word!r} of the answer holds the end of a line")
            if word not in _OF_THE_SERVER:
                self._headers.append((word, text))
            elif word == "content-length":
                if not text.isdecimal():
                    raise RuntimeError(f"{text!r} is no length of an answer")
                self._length = int(text)
            elif word == "connection" and text.lower() == "close":
                self._request.keep = False
        self._status = status

    async def _add(self, piece: bytes, *, more: bool) -> None:
        request = self._request
        has_body = request.method != "HEAD" and self._status not in _BODILESS
        self._sent += len(piece)
        if has_body and self._length is not None and (self._sent > self._length or (self._sent < self._length and not more)):
            raise RuntimeError(f"the answer is not of the {self._length:,} bytes that it was said to have")
        if self._status in _BODILESS or (self._stream is None and not more and (has_body or self._length is None)):
            if not more:
                request.respond(self._status, self._headers, b"" if self._status in _BODILESS else piece)
                self._finish()
            return
        stream = self._stream = self._stream or request.stream(self._status, self._headers, self._length)
        try:
            await stream.send(piece)
        except BrokenOff as error:
            raise Gone("the client has left") from error
        if not more:
            stream.end()
            self._finish()

    def _finish(self) -> None:
        self.is_over = True
        self._request.break_off()  # who still waits for the client to leave need not
