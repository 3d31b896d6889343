"""One connection of HTTP/1.1 (RFC 9112): requests are read by llhttp and answered one after the other, in their order.

What a client may leave lying is bounded: the bytes and lines of a head, the time that a head may take and that an answer may
wait to be taken, the bytes that wait for the application, and the requests that wait for their turn.
"""

import asyncio
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

from skyloom.serving.http.eager import begin
from skyloom.serving.http.heads import (
    BODILESS,
    METHODS,
    NAMES,
    Malformed,
    check_coding,
    fault_of,
    head_of,
    head_without_upgrade,
    target_of,
    too_long,
)
from skyloom.serving.http.limits import (
    LINGER_S,
    LONGEST_HEAD,
    LONGEST_TARGET,
    MOST_HEADERS,
    MOST_WAITING,
    PIECES,
    READ_AND_DROP,
    SMALLEST_PIECE,
)
from skyloom.serving.http.request import BrokenOff, Headers, Request

if TYPE_CHECKING:
    from skyloom.serving.http.server import HttpServer

_log = logging.getLogger("skyloom.serving")

_TOGETHER = 32 * 1_024
"""An answer of up to so many bytes is copied behind its head, to go out with it."""
_TOO_SLOW = 408
_NEVER = math.inf
_httptools: Any = httptools  # its types know nothing of what a parser calls


class Connection(asyncio.Protocol):
    """Belongs to a server, which looks now and then whether its time is up."""

    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._transport: Any = None
        self._parser: Any = _httptools.HttpRequestParser(self)
        self.scheme = "http"
        self.due = server.now + server.head_s
        """When the client has to have sent what it is waited for, or taken its answer, by the server's clock."""
        self.leave_at = _NEVER
        """From when on the connection is to end between two requests."""
        self._changes = server.changes
        self._headers: dict[str, str] = {}
        self._target = b""
        self._head_bytes = self._lines = self._dropped = self._unsent = self._beside = 0
        self._in_head = self._is_used = self._deaf = self._eof = self._gone = self._paused = self._blocked = False
        self._chunked = False
        self._fault: Malformed | None = None
        self._reading: Request | None = None
        """The request whose body is coming."""
        self._waiting: deque[Request] = deque()
        self._now: Request | None = None
        """The request that is answered, and what answers it, where that takes a while."""
        self._task: asyncio.Task[None] | None = None
        self._written: asyncio.Future[None] | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come; with TLS, it has shaken hands."""
        self._transport = transport
        if transport.get_extra_info("ssl_object") is not None:
            self.scheme = "https"
            if self._changes != self._server.changes:
                self.leave_at = self._server.leave_at  # it shook hands meanwhile, with what was then
        self._server.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, or was left."""
        self.due, self._gone = _NEVER, True
        self._server.remove(self)
        for each in (self._reading, self._now):
            if each is not None:
                each.break_off()
        self._waiting.clear()
        self._reading = self._now = self._fault = None
        self._parser = None  # it knows us, and the collector of cycles looks seldom
        self._take_written()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._deaf:
            self._drop(len(data))
            return
        if self._reading is None:
            self._head_bytes += len(data)
        else:
            self._beside += len(data)
        rest = None
        try:
            self._parser.feed_data(data)
            if self._in_head and self._head_bytes > LONGEST_HEAD:
                self._break(too_long(LONGEST_HEAD))
            elif self._chunked and self._reading is not None:
                self._weigh()
        except httptools.HttpParserUpgrade as error:
            rest = data[error.args[0] :]
        except httptools.HttpParserError as error:
            self._break(fault_of(error))
        if rest is not None:
            self._without_upgrade(rest)
        elif self._now is not None:
            if self._waiting:
                self._pause()
        elif self._waiting:
            self._server.ready.add(self)
        else:
            self.answer_next()

    def eof_received(self) -> bool:
        """The client sends no more, but may still read. Whether the connection goes on."""
        self._eof = True
        for each in (self._reading, self._now):
            if each is not None:
                each.break_off()
        goes_on = self.scheme == "http" and (self._now is not None or bool(self._waiting))
        if not goes_on:
            self.end()
        return goes_on

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        self._blocked = True
        self._unsent = self._transport.get_write_buffer_size()
        self.due = self._server.now + self._server.patience_s

    def resume_writing(self) -> None:
        """It has taken it."""
        self._blocked, self.due = False, _NEVER
        if self._now is None:
            self._server.ready.add(self)
        self._take_written()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers, self._target, self._lines, self._in_head, self._chunked = {}, b"", 0, True, False
        if self._now is None:
            self.due = self._server.now + self._server.head_s

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url
        if len(self._target) > LONGEST_TARGET:
            raise Malformed(414, f"the target of the request is longer than {LONGEST_TARGET:,} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. One behind a body in chunks says nothing to anybody here."""
        self._lines += 1
        if self._lines > MOST_HEADERS:
            raise Malformed(431, f"the request has more than {MOST_HEADERS} headers")
        if not self._in_head:
            return
        word = NAMES.get(name) or name.decode("ascii").lower()
        if word in self._headers:
            if word == "host":
                raise Malformed(400, "the request names its host twice")
            self._headers[word] = f"{self._headers[word]}, {value.rstrip().decode('latin-1')}"
        else:
            self._headers[word] = value.rstrip().decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is here."""
        headers, parser = self._headers, self._parser
        keep, version, said = parser.should_keep_alive(), "1.1", parser.get_method()
        if not keep or "connection" in headers or "proxy-connection" in headers or "host" not in headers:
            version = parser.get_http_version()
            if version not in ("1.0", "1.1"):
                raise Malformed(400, "this server speaks HTTP/1.1 here")
            if version == "1.1" and "host" not in headers:
                raise Malformed(400, "the request names no host")
        if said == b"CONNECT":
            raise Malformed(405, "this server is no proxy")
        if "transfer-encoding" in headers:
            check_coding(headers, version)
            self._chunked = True
        if (
            self._head_bytes > LONGEST_HEAD
            and sum(len(name) + len(said) + 4 for name, said in headers.items()) > LONGEST_HEAD
        ):
            raise too_long(LONGEST_HEAD)
        if len(self._waiting) >= MOST_WAITING:
            raise Malformed(503, f"more than {MOST_WAITING} requests were sent ahead of their answers")
        self._in_head, self._head_bytes, self._beside = False, 0, 0
        if "upgrade" in headers and parser.should_upgrade():
            return
        path, query = target_of(self._target)
        expects = "expect" in headers and headers["expect"].lower() == "100-continue" and version != "1.0"
        method = METHODS.get(said) or said.decode()
        request = Request(self, method, path, query, headers, keep=keep, expects=expects)
        request.version, request.target = version, self._target
        self._reading = request
        self._waiting.append(request)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        request = self._reading
        if request is None:
            return
        if self._chunked:
            self._beside -= 2 * len(body)
            if request.waiting > PIECES and request.held < SMALLEST_PIECE * request.waiting:
                raise Malformed(
                    400, f"the body comes in pieces of fewer than {SMALLEST_PIECE} bytes: send it in larger ones"
                )
        if request.unwanted:
            self._dropped += len(body) + SMALLEST_PIECE
            if self._dropped > READ_AND_DROP:
                raise Malformed(413, "the body goes on and on")
        elif request.add(body):
            self._pause()

    def on_message_complete(self) -> None:
        """A request is whole."""
        request, self._reading = self._reading, None
        if request is not None:
            request.end()
            if request.unwanted:
                self.due = _NEVER

    # What requests call.

    @property
    def has_left(self) -> bool:
        """Whether the client has left, or will send nothing more."""
        return self._gone or self._eof

    def address(self, end: str) -> tuple[str, int] | None:
        """Of an ``end`` of the connection (``peername``, ``sockname``), where that has one."""
        found = self._transport.get_extra_info(end)
        return (found[0], found[1]) if isinstance(found, tuple) else None

    def go_on(self, request: Request) -> None:
        """Somebody asks for the rest of a body."""
        if request.expects:
            request.expects = False
            if not (request.whole or request.answered or self._gone):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._waiting:
            self._read_on()

    def respond(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        """Answer with a whole body."""
        if self._gone or request.answered:
            self._leave(request)
            return
        head, keep = self._head(request, status, headers, len(body))
        if request.mute:
            self._transport.write(head)
        elif len(body) <= _TOGETHER:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        self._done(request, keep)

    def begin_stream(self, request: Request, status: int, headers: Headers, length: int | None) -> None:
        """Begin an answer in pieces."""
        request.chunked = length is None and request.version != "1.0"
        if length is None and request.version == "1.0":
            request.keep = False  # its body ends with the connection
        head, request.keep = self._head(request, status, headers, length)
        if status in BODILESS:
            request.mute = True
        if not self._gone:
            self._transport.write(head)

    async def send_piece(self, request: Request, piece: bytes) -> None:
        """Send a piece when the client has taken those before it."""
        while self._blocked and not self._gone:
            self._written = asyncio.get_running_loop().create_future()
            await self._written
        if self._gone:
            raise BrokenOff("the client has left before its answer was whole")
        if piece and not request.mute:
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if request.chunked else piece)

    def end_stream(self, request: Request, *, whole: bool) -> None:
        """End an answer in pieces."""
        if self._gone:
            self._leave(request)
        elif not whole:
            self._leave(request)
            self._transport.abort()
        else:
            if request.chunked and not request.mute:
                self._transport.write(b"0\r\n\r\n")
            self._done(request, request.keep)

    # What the server calls.

    def answer_next(self) -> None:
        """Let the application answer the next request, if there is one."""
        if self._now is not None or self._gone:
            return
        if self._blocked:
            if self._waiting:
                self._pause()  # who does not read its answers gets no more of them
        elif self._waiting:
            self._now = request = self._waiting.popleft()
            self.due = _NEVER
            self._is_used = True
            try:
                self._task = begin(self._server.handle(request), self._see, request)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001  # the edge of a request: its client waits
                _log.exception("%s %s was not answered", request.method, request.path)
            if self._task is None and self._now is request:
                self._see(request)
        elif self._fault is not None:
            fault, self._fault = self._fault, None
            status, headers, body = self._server.explain(fault.status, fault.why)
            self._now = Request(self, "GET", "", "", {}, keep=False)
            self.respond(self._now, status, headers, body)
        else:
            self._rest()

    @property
    def is_idle(self) -> bool:
        """Whether the client could ask, and does not."""
        return not (self._in_head or self._now or self._waiting or self._reading or self._deaf or self._blocked)

    @property
    def is_used(self) -> bool:
        """Whether a request was answered here."""
        return self._is_used

    def look(self, now: float) -> None:
        """End what takes too long. The clock is the server's."""
        if now >= self.leave_at + self._server.goodbye_s and self.is_idle:
            self.end()
        elif now < self.due:
            return
        elif self._blocked or self._deaf:
            left = self._transport.get_write_buffer_size()
            if left >= self._unsent:
                self._transport.abort()
            self._unsent, self.due = left, now + self._server.patience_s
        elif self._in_head:
            self._break(Malformed(408, "the head of the request did not arrive in time"))
            self.answer_next()
        elif self.is_idle:
            self.end()
        elif not self._waiting:  # otherwise it is to be answered in this very moment
            self._transport.abort()

    def end(self) -> None:
        """Close it: nobody has asked anything. The client has yet to take what it was answered."""
        self._deaf = True
        self._unsent, self.due = self._transport.get_write_buffer_size(), self._server.now + self._server.patience_s
        self._transport.close()

    def abort(self) -> None:
        """Break it off."""
        self._transport.abort()

    # Ours.

    def _see(self, request: Request) -> None:
        """What answers a request has ended: without an answer, its client shall not wait for one."""
        if self._now is request:
            self._leave(request)
            self._transport.abort()

    def _rest(self) -> None:
        """Nothing is answered: wait for the client, but not for ever."""
        server = self._server
        if self._blocked or self._deaf:
            return
        if self._eof:
            self.end()
            return
        if self._reading is not None or self._in_head:
            self.due = min(self.due, server.now + server.head_s)
        elif self.due == _NEVER:  # and not for each empty line
            self.due = server.now + server.idle_s
        self._read_on()

    def _head(self, request: Request, status: int, headers: Headers, length: int | None) -> tuple[bytes, bool]:
        """The head of an answer, whose ``length`` may not be known yet, and whether the connection goes on after it."""
        request.answered = True
        server = self._server
        keep = request.keep and not (server.closing or server.now >= self.leave_at)
        if (self._eof or self._deaf) and not (self._waiting or self._fault):
            keep = False
        if not request.whole and (request.expects or status == _TOO_SLOW):
            keep = False  # who knows whether its body comes
        if not keep:
            headers = [*headers, ("connection", "close")]
        elif request.version == "1.0":
            headers = [*headers, ("connection", "keep-alive")]
        try:
            if length is not None:
                return server.heads.of(status, headers, length), keep
            framing = "transfer-encoding: chunked" if request.version != "1.0" else ""
            return head_of(status, headers, framing, server.heads.date), keep
        except ValueError:
            _log.exception("%s %s could not be answered", request.method, request.path)
            request.mute, request.chunked = True, False
            return head_of(500, [("connection", "close")], "content-length: 0", server.heads.date), False

    def _done(self, request: Request, keep: bool) -> None:
        """A request is answered."""
        self._now = self._task = None
        if not keep:
            self._finish()
            return
        if not request.whole:
            self._dropped = 0
            request.drop()
        if self._waiting or self._fault is not None:
            self._server.ready.add(self)
        else:
            self._rest()

    def _leave(self, request: Request) -> None:
        request.answered = True
        if self._now is request or self._gone:
            self._now = self._task = None

    def _finish(self) -> None:
        """End the connection once the answer has gone out. What the client still sends is read for a moment: an end amid
        that would take the answer from it."""
        more_may_come = self._deaf or self._reading is not None or self._in_head or self._paused or bool(self._waiting)
        self._waiting.clear()
        self._deaf, self._fault, self._in_head, self._dropped = True, None, False, 0
        self._unsent = self._transport.get_write_buffer_size()
        if more_may_come and not self._eof:
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self.due = self._server.now + LINGER_S
            self._read_on()
        else:
            self.end()

    def _break(self, fault: Malformed) -> None:
        """What the client sends from here on cannot be understood. Those before are answered, then it is told."""
        self._deaf = True
        if self._reading is not None:
            self._reading.break_off(fault.why)  # its own answer tells
            if self._reading.answered:
                self._finish()
        else:
            self._fault = fault
        self._in_head = False

    def _without_upgrade(self, rest: bytes) -> None:
        """Read on as if the client had not offered to speak another protocol, which it need not be granted (RFC 9110, 7.8).
        The parser takes what follows for that protocol, so another one is given the request without the offer."""
        parser, self._parser = self._parser, _httptools.HttpRequestParser(self)
        head = head_without_upgrade(parser.get_method(), self._target, parser.get_http_version(), self._headers)
        self.data_received(head + rest)

    def _weigh(self) -> None:
        """Refuse a body that has more beside its bytes (sizes and extensions of chunks, trailers) than bytes."""
        if self._beside > LONGEST_HEAD:
            self._break(Malformed(400, f"more than {LONGEST_HEAD:,} bytes beside a body, and more than in it"))
        elif self._beside < 0:
            self._beside = 0

    def _drop(self, count: int) -> None:
        self._dropped += count
        if self._dropped > READ_AND_DROP:
            self._transport.abort()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._paused and not self._gone:
            self._paused = False
            self._transport.resume_reading()

    def _take_written(self) -> None:
        if self._written is not None and not self._written.done():
            self._written.set_result(None)
