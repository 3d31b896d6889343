"""Applications of ASGI on our server, as their clients meet them, and what they are told."""

import asyncio
import contextlib
import http.client
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

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


def test_what_an_application_is_told() -> None:
    scope, client = scope_of(
        b"PUT /a%20b/%C3%A9?x=%201&y HTTP/1.1\r\nHost: me\r\nX-Twice: 1\r\nX-Other: \xe9\r\nx-twice: 2\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert scope["type"] == "http"
    assert scope["asgi"]["version"] == "3.0"
    assert (scope["http_version"], scope["method"], scope["scheme"], scope["root_path"]) == ("1.1", "PUT", "http", "")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b/é", b"/a%20b/%C3%A9", b"x=%201&y")
    assert scope["client"] == client
    assert scope["headers"] == [(b"host", b"me"), (b"x-twice", b"1, 2"), (b"x-other", b"\xe9"), (b"connection", b"close")]


def test_a_whole_address_and_an_old_version() -> None:
    scope, _ = scope_of(b"GET http://me:80/x%20?y HTTP/1.0\r\n\r\n")
    assert (scope["http_version"], scope["path"], scope["raw_path"], scope["query_string"]) == ("1.0", "/x ", b"/x%20", b"y")


@pytest.mark.parametrize(
    ("messages", "body", "headers"),
    [
        ((start(), piece(b"whole", more=False)), b"whole", {"content-length": "5"}),
        ((start(), {"type": "http.response.body"}), b"", {"content-length": "0"}),
        ((start(content_length="5"), piece(b"whole", more=False)), b"whole", {"content-length": "5"}),
        ((start(), piece(b"wh"), piece(b""), piece(b"ole", more=False)), b"whole", {"transfer-encoding": "chunked"}),
        ((start(), piece(b"whole"), piece(b"", more=False)), b"whole", {"transfer-encoding": "chunked"}),
        ((start(content_length="5"), piece(b"wh"), piece(b"ole", more=False)), b"whole", {"content-length": "5"}),
        ((start(transfer_encoding="chunked"), piece(b"whole", more=False)), b"whole", {"content-length": "5"}),
        ((start(X_OWN="1", date="never"), piece(b"whole", more=False)), b"whole", {"x-own": "1", "content-length": "5"}),
    ],
)
def test_an_answer_is_framed_as_it_comes(messages: Sequence[Message], body: bytes, headers: dict[str, str]) -> None:
    (answered,) = asked(sending(*messages), request())
    status, found, read_body, rest = read(answered)
    assert found.pop("date").endswith("GMT")
    assert found.pop("connection") == "close"
    assert (status, read_body, rest, found) == (200, body, b"", headers)


@pytest.mark.parametrize(
    ("messages", "headers"),
    [
        ((start(content_length="5"), piece(b"", more=False)), {"content-length": "5"}),
        ((start(content_length="5"), piece(b"whole", more=False)), {"content-length": "5"}),
        ((start(), piece(b"whole", more=False)), {"content-length": "5"}),
        ((start(), piece(b"wh"), piece(b"ole", more=False)), {"transfer-encoding": "chunked"}),
        ((start(204), piece(b"whole", more=False)), {}),
        ((start(204, content_length="0"), piece(b"", more=False)), {}),
        ((start(304), piece(b"wh"), piece(b"ole", more=False)), {}),
    ],
)
def test_answers_without_a_body_leave_the_connection_as_it_was(messages: Sequence[Message], headers: dict[str, str]) -> None:
    method = "HEAD" if messages[0]["status"] == 200 else "GET"
    (answered,) = asked(sending(*messages), request(method, more="") + request(method))
    for keeps in (True, False):
        _, found, body, answered = read(answered, method)
        assert found.pop("date")
        assert found.pop("connection", "keep") == ("keep" if keeps else "close")
        assert (body, found) == (b"", headers)
    assert answered == b""


def test_an_old_client_hears_the_end_of_a_stream_by_the_end_of_its_connection() -> None:
    streamed = sending(start(), piece(b"wh"), piece(b"ole", more=False))
    known = sending(start(content_length="5"), piece(b"wh"), piece(b"ole", more=False))
    kept = request(more="connection: keep-alive\r\n", version="1.0")
    (answered,) = asked(streamed, kept)
    assert read(answered)[2] == b"whole"
    assert b"chunked" not in answered
    (answered,) = asked(known, kept + request(version="1.0"))
    status, headers, body, rest = read(answered)
    assert (status, headers["connection"], body) == (200, "keep-alive", b"whole")
    assert read(rest)[2:] == (b"whole", b"")


def test_an_application_may_end_the_connection() -> None:
    (answered,) = asked(sending(start(connection="close"), piece(b"whole", more=False)), GET + GET)
    _, headers, body, rest = read(answered)
    assert (headers["connection"], body, rest) == ("close", b"whole", b"")


def test_requests_that_come_together_are_answered_in_their_order() -> None:
    async def application(scope: Message, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        await send(START)
        await send({"type": "http.response.body", "body": scope["query_string"], "more_body": True})
        await send({"type": "http.response.body"})

    wanted = [f"GET /?{number} HTTP/1.1\r\nhost: me\r\n\r\n".encode() for number in range(20)]
    (answered,) = asked(application, b"".join(wanted) + request())
    for number in range(20):
        _, _, body, answered = read(answered)
        assert body == str(number).encode()


async def _raises(send: Send) -> None:
    raise ValueError("on purpose")


async def _starts_and_raises(send: Send) -> None:
    await send(start())
    raise ValueError("on purpose")


async def _is_cancelled(send: Send) -> None:
    raise asyncio.CancelledError


async def _says_nothing(send: Send) -> None:
    return


async def _only_starts(send: Send) -> None:
    await send(start())


def wrongly(*messages: Message) -> Callable[[Send], Coroutine[Any, Any, None]]:
    async def acts(send: Send) -> None:
        for each in messages:
            await send(each)

    return acts


@pytest.mark.parametrize(
    ("acts", "logged"),
    [
        (_raises, "on purpose"),
        (_starts_and_raises, "on purpose"),
        (_is_cancelled, ""),
        (_says_nothing, "ended without a whole answer"),
        (_only_starts, "ended without a whole answer"),
        (wrongly(WHOLE), "before the start"),
        (wrongly(START, START), "sent twice"),
        (wrongly({"type": "websocket.accept"}), "cannot be sent over HTTP"),
        (wrongly(start(99)), "99 is no status"),
        (wrongly(start(content_length="five")), "'five' is no length"),
        (wrongly(start(x_a="1\r\nx-b: 2")), "holds the end of a line"),
        (wrongly(start(content_length="4"), WHOLE), "not of the 4 bytes"),
        (wrongly(start(content_length="6"), WHOLE), "not of the 6 bytes"),
    ],
)
def test_what_fails_before_anything_went_out_is_explained(
    acts: Callable[[Send], Awaitable[None]], logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def application(scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await acts(send)
        else:
            await send(START)
            await send(WHOLE)

    after = request().replace(b" / ", b" /after ")
    (answered,) = asked(application, GET + after)
    status, headers, body, rest = read(answered)
    assert (status, headers["x-explained"]) == (500, "yes")
    assert b"failed" in body
    assert read(rest)[2:] == (b"whole", b"")
    assert logged in caplog.text
    assert [each.levelno for each in caplog.records if each.name == "skyloom.api"] == ([logging.ERROR] if logged else [])


@pytest.mark.parametrize(
    "messages",
    [
        (start(), piece(b"wh")),
        (start(content_length="5"), piece(b"wh")),
        (start(content_length="5"), piece(b"wh"), piece(b"", more=False)),
        (start(content_length="3"), piece(b"wh"), piece(b"ole", more=False)),
        (start(), piece(b"wh"), START),
    ],
)
def test_what_fails_amid_its_answer_breaks_the_connection(messages: Sequence[Message]) -> None:
    async def main() -> None:
        async with served(sending(*messages)) as server:
            side = await server.send(GET)
            answered = b""
            with contextlib.suppress(ConnectionError):
                while more := await asyncio.wait_for(side.reader.read(65_536), PATIENCE_S):
                    answered += more
            if answered:
                with pytest.raises(http.client.IncompleteRead):
                    read(answered)

    run(main())


def test_what_is_sent_after_the_end_is_logged_and_the_answer_stands(caplog: pytest.LogCaptureFixture) -> None:
    (answered,) = asked(sending(START, WHOLE, WHOLE), request())
    assert read(answered)[2] == b"whole"
    assert "after the end" in caplog.text


class Reader:
    """Reads its body and says what it was told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "http.disconnect" or not message["more_body"]:
                break
        await send(START)
        await send(WHOLE)
        self.messages.append(await receive())

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.messages)


@pytest.mark.parametrize("length", [0, 1, 70_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_comes_in_pieces_and_then_its_end(length: int, chunked: bool) -> None:
    reader = Reader()
    body = bytes(range(256)) * (length // 256) + bytes(length % 256)
    content = request("POST", body)
    if chunked:
        framed = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part) for at in range(0, length, 999) for part in [body[at : at + 999]]
        )
        content = b"POST / HTTP/1.1\r\nhost: me\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n" + framed
        content += b"0\r\n\r\n"
    (answered,) = asked(reader, content)
    assert read(answered)[2] == b"whole"
    *pieces, last, over = reader.messages
    assert reader.body == body
    assert all(each["type"] == "http.request" and each["more_body"] for each in pieces)
    assert (last["type"], last["more_body"], over) == ("http.request", False, {"type": "http.disconnect"})
    assert (len(pieces) > 1) == (length > 1_000_000)


def test_a_body_that_breaks_off_is_a_client_that_has_left() -> None:
    async def main() -> Reader:
        reader = Reader()
        async with served(reader) as server:
            side = await server.send(b"POST / HTTP/1.1\r\nhost: me\r\ncontent-length: 10\r\n\r\nhalf")
            side.writer.write_eof()
            await side.rest()
        return reader

    reader = run(main())
    assert (reader.body, reader.messages[-1]["type"], reader.messages[-2]["type"]) == (b"half", *["http.disconnect"] * 2)


def test_who_waits_for_a_body_no_longer_loses_none_of_it() -> None:
    got: list[bytes] = []
    waits = asyncio.Event()

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        first = await receive()
        got.append(first["body"])
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        waits.set()
        while (message := await receive())["more_body"]:
            got.append(message["body"])
        got.append(message["body"])
        await send(START)
        await send(WHOLE)

    async def main() -> None:
        async with served(application) as server:
            side = await server.send(b"POST / HTTP/1.1\r\nhost: me\r\nconnection: close\r\ncontent-length: 10\r\n\r\nfirst")
            await asyncio.wait_for(waits.wait(), PATIENCE_S)
            side.writer.write(b"after")
            assert read(await side.rest())[2] == b"whole"

    run(main())
    assert b"".join(got) == b"firstafter"


def test_a_body_that_nobody_reads_is_in_nobodys_way() -> None:
    (answered,) = asked(sending(START, WHOLE), request("POST", b"x" * 1_000_000, more="") + request())
    _, _, body, rest = read(answered)
    assert body == b"whole"
    assert read(rest)[2:] == (b"whole", b"")


def test_who_expects_to_be_asked_is_asked_by_reading_alone() -> None:
    content = b"POST / HTTP/1.1\r\nhost: me\r\nexpect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n"

    async def asking(application: Any) -> tuple[bytes, bytes]:
        async with served(application) as server:
            side = await server.send(content)
            first = await asyncio.wait_for(side.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
            side.writer.write(b"body")
            return first, await side.rest()

    reader = Reader()
    first, rest = run(asking(reader))
    assert (first, reader.body, read(rest)[2]) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"body", b"whole")
    first, rest = run(asking(sending(START, WHOLE)))
    assert first.startswith(b"HTTP/1.1 200 ")
    assert rest == b"whole"


@pytest.mark.parametrize("leave", ["close", "write_eof", "abort"])
def test_who_waits_for_the_client_to_leave_hears_of_it(leave: str) -> None:
    heard: list[Message] = []

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        assert (await receive())["more_body"] is False
        both = asyncio.gather(receive(), receive())  # two may wait
        began.set()
        heard.extend(await both)

    async def main() -> None:
        async with served(application) as server:
            side = await server.send(GET)
            await asyncio.wait_for(began.wait(), PATIENCE_S)
            getattr(side.writer.transport if leave == "abort" else side.writer, leave)()
            await asyncio.wait_for(server.asgi.idle(), PATIENCE_S)

    began = asyncio.Event()
    run(main())
    assert heard == [{"type": "http.disconnect"}] * 2


def test_who_sends_no_more_may_still_read() -> None:
    async def main() -> bytes:
        async with served(sending(start(), piece(b"wh"), piece(b"ole", more=False))) as server:
            side = await server.send(GET)
            side.writer.write_eof()
            return await side.rest()

    assert read(run(main()))[2] == b"whole"


def test_who_streams_to_a_client_that_has_left_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    met: list[OSError] = []

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                await send(piece(bytes(100_000)))
        except OSError as error:
            met.append(error)
            raise

    async def main() -> None:
        async with served(application) as server:
            side = await server.send(GET)
            await asyncio.wait_for(side.reader.readexactly(1_000), PATIENCE_S)
            side.writer.transport.abort()
            await asyncio.wait_for(server.asgi.idle(), PATIENCE_S)

    run(main())
    assert len(met) == 1
    assert [each.levelno for each in caplog.records if each.name == "skyloom.api" and each.levelno > logging.INFO] == []


def test_who_asks_on_after_the_answer_hears_that_it_is_over() -> None:
    heard: list[Message] = []

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send(START)
        await send(WHOLE)
        heard.extend([await waiting, await receive()])

    (answered,) = asked(application, GET + request())
    assert len(heard) == 4
    assert {each["type"] for each in heard} == {"http.disconnect"}
    assert read(read(answered)[3])[2] == b"whole"
