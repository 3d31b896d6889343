"""Applications of ASGI on our server, as their clients meet them, and what they are told."""

import asyncio
import contextlib
import http.client
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
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
    scope_of,
    sending,
    served,
    start,
)

from skyloom.serving.loop import run


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
