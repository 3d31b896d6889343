"""Connections without a socket: what a server is sent, what it answers, and a client that takes it or does not."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from skyloom.serving.http import BrokenOff, Headers, Request
from skyloom.serving.http.connection import Connection
from skyloom.serving.http.heads import Heads
from skyloom.serving.http.ready import Ready

HIGH_WATER = 64 * 1_024


class Got(NamedTuple):
    """A request as the application has seen it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class FakeTransport:
    """Takes what is written. A client that ``reads`` takes it at once; otherwise it waits as in a socket's buffer."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.events: list[str] = []
        self.reads, self.reading, self.closing = True, True, False
        self.buffered = 0
        self.connection: Connection | None = None
        self.tls = False

    def get_extra_info(self, name: str) -> Any:
        return object() if name == "ssl_object" and self.tls else None

    def write(self, data: bytes) -> None:
        if "abort" in self.events:
            return
        assert not self.closing, "nothing is written behind the end"
        self.written += data
        if not self.reads:
            before, self.buffered = self.buffered, self.buffered + len(data)
            if before <= HIGH_WATER < self.buffered and self.connection is not None:
                self.connection.pause_writing()

    def writelines(self, pieces: tuple[bytes, ...]) -> None:
        self.write(b"".join(pieces))

    def take(self, count: int = 1 << 60) -> None:
        """The client reads."""
        before, self.buffered = self.buffered, max(0, self.buffered - count)
        if before > HIGH_WATER // 4 >= self.buffered and self.connection is not None:
            self.connection.resume_writing()
        if not self.buffered and self.closing:
            self._lose()

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def can_write_eof(self) -> bool:
        return not self.tls

    def write_eof(self) -> None:
        self.events.append("eof")

    def pause_reading(self) -> None:
        assert self.reading, "paused once"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed once"
        self.reading = True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.events.append("close")
            if not self.buffered:
                self._lose()

    def abort(self) -> None:
        self.closing, self.buffered = True, 0
        self.events.append("abort")
        self._lose()

    def is_closing(self) -> bool:
        return self.closing

    def _lose(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            asyncio.get_running_loop().call_soon(connection.connection_lost, None)


class FakeServer:
    """What connections see of a server, with a clock that is moved by hand."""

    def __init__(self, handle: Callable[[Request], Coroutine[Any, Any, None]]) -> None:
        self.handle = handle
        self.heads, self.ready = Heads(), Ready()
        self.now = 0.0
        self.head_s, self.patience_s, self.idle_s, self.goodbye_s = 10.0, 30.0, 600.0, 10.0
        self.closing = False
        self.changes, self.leave_at = 0, float("inf")
        self.told: list[int] = []
        self.here: set[Connection] = set()

    def explain(self, status: int, why: str) -> tuple[int, Headers, bytes]:
        self.told.append(status)
        return status, [("content-type", "text/plain")], why.encode()

    def add(self, connection: Connection) -> None:
        self.here.add(connection)

    def remove(self, connection: Connection) -> None:
        self.here.discard(connection)


class Wire:
    """One connection of a client to an application. To be used in a loop."""

    def __init__(self, handle: Callable[[Request], Coroutine[Any, Any, None]] | None = None, tls: bool = False) -> None:
        self.seen: list[Got] = []
        self.server = FakeServer(handle or self.echo)
        self.transport = FakeTransport()
        self.transport.tls = tls
        self.connection = Connection(self.server)  # type: ignore[arg-type]
        self.transport.connection = self.connection
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    async def echo(self, request: Request) -> None:
        """Read a request whole and say what it was."""
        try:
            body = request.body if request.body is not None else await request.read()
        except BrokenOff as error:
            request.respond(400, [("content-type", "text/plain")], str(error).encode())
            return
        self.seen.append(Got(request.method, request.path, request.query, dict(request.headers), body))
        request.respond(200, [("content-type", "text/plain")], f"{len(self.seen)} {request.path}".encode())

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each when the server reads, with turns of the loop between them."""
        for piece in pieces:
            await self.settle()
            if self.transport.connection is None:
                return
            self.connection.data_received(piece)
        await self.settle()

    async def settle(self, turns: int = 6) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        while self.connection._waiting and not self.connection._blocked and self.transport.connection is not None:
            before = len(self.connection._waiting)
            for _ in range(turns):
                await asyncio.sleep(0)
            if len(self.connection._waiting) == before:
                return

    async def pass_time(self, seconds: float) -> None:
        self.server.now += seconds
        for each in list(self.server.here):
            each.look(self.server.now)
        await self.settle()

    @property
    def answers(self) -> list[tuple[int, bytes]]:
        """Statuses and bodies."""
        return answers(bytes(self.transport.written))

    @property
    def ended(self) -> bool:
        return self.transport.connection is None or self.transport.events[-1:] in (["eof"], ["close"])


def answers(raw: bytes, methods: str = "") -> list[tuple[int, bytes]]:
    """The answers in a stream of bytes, which has to hold nothing else. ``methods`` has an H for each request of HEAD."""
    found: list[tuple[int, bytes]] = []
    while raw:
        head, end, raw = raw.partition(b"\r\n\r\n")
        assert end, "an answer has a head"
        first, *lines = head.split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 "), first
        status = int(first[9:12])
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        assert len(headers) == len(lines), "no header twice"
        bodiless = status in (100, 204, 304) or methods[len(found) : len(found) + 1] == "H"
        if bodiless:
            body = b""
        elif b"content-length" in headers:
            length = int(headers[b"content-length"])
            body, raw = raw[:length], raw[length:]
            assert len(body) == length
        elif headers.get(b"transfer-encoding") == b"chunked":
            body, raw = _chunks(raw)
        else:
            body, raw = raw, b""
        found.append((status, body))
    return found


def _chunks(raw: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        body, end, raw = body + raw[:length], raw[length : length + 2], raw[length + 2 :]
        assert end == b"\r\n"
        if not length:
            return body, raw
