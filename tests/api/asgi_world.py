"""Applications of ASGI on our server, and their clients."""

import asyncio
import contextlib
import http.client
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from skyloom.api.asgi import Asgi
from skyloom.serving.http import HttpServer
from skyloom.serving.listener import listening
from skyloom.serving.loop import run
from skyloom.serving.services import Listen

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
PATIENCE_S = 60.0
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
WHOLE: Message = {"type": "http.response.body", "body": b"whole"}
GET = b"GET / HTTP/1.1\r\nhost: me\r\n\r\n"


def explain(status: int, why: str) -> tuple[int, list[tuple[str, str]], bytes]:
    return status, [("x-explained", "yes")], why.encode()


class Side:
    """A client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), PATIENCE_S)


class Server:
    def __init__(self, asgi: Asgi, port: int) -> None:
        self.asgi, self.port = asgi, port
        self._opened: list[Side] = []

    async def send(self, content: bytes) -> Side:
        """Over a new connection."""
        side = Side(*await asyncio.open_connection("127.0.0.1", self.port))
        self._opened.append(side)
        side.writer.write(content)
        return side

    async def ask(self, content: bytes) -> bytes:
        """All that is answered until the server ends the connection."""
        return await (await self.send(content)).rest()

    def close(self) -> None:
        for each in self._opened:
            each.writer.close()


@contextlib.asynccontextmanager
async def served(application: Any) -> AsyncIterator[Server]:
    with listening(Listen()) as listener:
        asgi = Asgi(application, explain)
        http_server = HttpServer(asgi.answer, explain, listener)
        serving = asyncio.create_task(http_server.serve())
        server = Server(asgi, listener.getsockname()[1])
        try:
            yield server
        finally:
            server.close()
            http_server.stop()
            await asyncio.wait_for(serving, PATIENCE_S)
            await asyncio.wait_for(asgi.idle(), PATIENCE_S)


def asked(application: Any, *contents: bytes) -> list[bytes]:
    """What is answered to each, over a connection of its own."""

    async def main() -> list[bytes]:
        async with served(application) as server:
            return [await server.ask(each) for each in contents]

    return run(main())


def request(method: str = "GET", body: bytes = b"", more: str = "connection: close\r\n", version: str = "1.1") -> bytes:
    head = f"{method} / HTTP/{version}\r\nhost: me\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Sent(io.BytesIO):
    """Bytes that the standard library reads as if they came from a socket."""

    def makefile(self, mode: str) -> io.BytesIO:
        return self


def read(answered: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes, bytes]:
    """Status, headers, body, and what stands behind it."""
    sent = Sent(answered)
    sent.close = lambda: None
    found = http.client.HTTPResponse(sent, method=method)  # type: ignore[arg-type]
    found.begin()
    headers = {name.lower(): value for name, value in found.getheaders()}
    body = found.read()
    return found.status, headers, body, sent.read()


def sending(*messages: Message) -> Any:
    async def application(scope: Message, receive: Receive, send: Send) -> None:
        for each in messages:
            await send(each)

    return application


def start(status: int = 200, **headers: str) -> Message:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


def piece(body: bytes, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def scope_of(content: bytes) -> tuple[Message, tuple[str, int]]:
    """What an application is told, and the address of the client."""
    told: list[Message] = []

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        told.append(scope)
        await send(START)
        await send(WHOLE)

    async def main() -> tuple[str, int]:
        async with served(application) as server:
            side = await server.send(content)
            assert (await side.rest()).endswith(b"whole")
            assert told[0]["server"] == ("127.0.0.1", server.port)
            return side.writer.get_extra_info("sockname")

    client = run(main())
    return told[0], client
