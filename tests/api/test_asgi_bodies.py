"""Bodies that applications of ASGI read, and clients that leave amid them."""

import asyncio
import contextlib
import logging
from typing import Any

import pytest
from asgi_world import (
    GET,
    PATIENCE_S,
    START,
    WHOLE,
    Message,
    Receive,
    Send,
    asked,
    piece,
    read,
    request,
    sending,
    served,
    start,
)

from skyloom.serving.loop import run


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
