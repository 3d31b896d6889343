"""One connection: what is refused and ends it, who is answered and in which order, and what a client may leave lying."""

import asyncio
from typing import Any

import pytest
from wires import Wire, answers

from skyloom.serving.http import Request
from skyloom.serving.http.limits import MOST_WAITING

PLAIN = [("content-type", "text/plain")]
HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"


def sized(body: bytes, head: bytes = HEAD) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def get(path: str, lines: str = "Host: x\r\n", version: str = "HTTP/1.1", method: str = "GET") -> bytes:
    return f"{method} {path} {version}\r\n{lines}\r\n".encode()


async def one(raw: bytes, **options: Any) -> Wire:
    wire = Wire(**options)
    await wire.send(raw)
    return wire


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na",
        HEAD + b"Content-Length: 1, 1\r\n\r\na",
        HEAD + b"Content-Length: +1\r\n\r\na",
        HEAD + b"Content-Length: 1 2\r\n\r\na",
        HEAD + b"Content-Length:\r\n\r\na",
        HEAD + b"Content-Length: 18446744073709551616\r\n\r\na",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity\r\n\r\n",
        HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"A: b\r\n c\r\n\r\n",
        HEAD + b"A: b\nC: d\r\n\r\n",
        HEAD + b"A: b\rC: d\r\n\r\n",
        HEAD + b"A: b\0\r\n\r\n",
        HEAD + b"A: b\x01\r\n\r\n",
        HEAD + b": b\r\n\r\n",
        HEAD + b"Host: y\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        get("/", version="HTTP/2.0"),
        get("/", "Host: x\r\nConnection: keep-alive\r\n", "HTTP/2.0"),
        get("/", version="HTTP/1.2"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        get("a"),
        get("*a"),
        get("/%ff"),
        get("/ä"),
        get("/", method="get"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_is_refused_once_and_nothing_behind_it_is_read(raw: bytes) -> None:
    for pieces in ([raw + GET], [raw, GET], [bytes([byte]) for byte in raw + GET]):
        wire = Wire()
        asyncio.run(wire.send(*pieces))
        assert [status for status, _ in wire.answers] == [400], wire.answers
        assert wire.seen == []
        assert wire.ended
        assert b"connection: close" in wire.transport.written


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"\r\n",
        b"+1\r\na\r\n",
        b"-1\r\na\r\n",
        b"1 \r\na\r\n",
        b"1\na\r\n",
        b"1\ra\r\n",
        b"1;a\na\r\n",
        b"1;a=\0\r\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"10000000000000000\r\na",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_a_body_whose_end_cannot_be_told_is_refused_and_nothing_behind_it_is_read(body: bytes) -> None:
    for pieces in ([CHUNKED + body + GET], [CHUNKED, body + GET], [bytes([byte]) for byte in CHUNKED + body + GET]):
        wire = Wire()
        asyncio.run(wire.send(*pieces))
        ((status, why),) = wire.answers
        assert (status, wire.seen, wire.ended) == (400, [], True)
        assert why.startswith(b"this is no HTTP/1.1: "), "it hears what is wrong"


def test_requests_before_a_broken_one_are_answered_first() -> None:
    for raw in (GET * 3 + b"nonsense\r\n\r\n" + GET, GET * 3 + CHUNKED + b"zz\r\n" + GET):
        wire = asyncio.run(one(raw))
        assert [status for status, _ in wire.answers] == [200, 200, 200, 400]
        assert wire.ended
        assert bytes(wire.transport.written).count(b"connection: close") == 1


def test_trailers_are_headers_of_no_request() -> None:
    wire = asyncio.run(one(CHUNKED + b"1\r\na\r\n0\r\nX-Api-Key: evil\r\nHost: evil\r\n\r\n" + GET))
    assert [each.headers for each in wire.seen] == [{"host": "x", "transfer-encoding": "chunked"}, {"host": "x"}]


def test_values_are_read_without_the_white_space_around_them() -> None:
    wire = asyncio.run(one(get("/", "Host: x\r\nA: \t b c \t\r\nA:\td \r\nE:\r\n")))
    assert wire.seen[0].headers == {"host": "x", "a": "b c, d", "e": ""}


@pytest.mark.parametrize(
    ("raw", "keeps"),
    [
        (get("/"), True),
        (get("/", "Host: x\r\nConnection: close\r\n"), False),
        (get("/", "Host: x\r\nConnection: x, Close\r\n"), False),
        (get("/", version="HTTP/1.0"), False),
        (get("/", "", "HTTP/1.0"), False),
        (get("/", "Connection: keep-alive\r\n", "HTTP/1.0"), True),
        (get("/", "Host: x\r\nProxy-Connection: keep-alive\r\n", "HTTP/1.0"), True),
    ],
)
def test_connections_are_kept_as_their_clients_ask(raw: bytes, keeps: bool) -> None:
    wire = asyncio.run(one(raw + GET))
    assert [status for status, _ in wire.answers] == [200] * (1 + keeps), "what follows the last request is no request"
    assert wire.ended == (not keeps)
    assert (b"connection: keep-alive" in wire.transport.written) == (keeps and b"HTTP/1.0" in raw)


def test_an_answer_in_pieces_ends_with_the_connection_where_the_client_knows_no_chunks() -> None:
    async def pieces(request: Request) -> None:
        stream = request.stream(200, PLAIN)
        for each in (b"a", b"", b"bc"):
            await stream.send(each)
        stream.end()

    for lines in ("Connection: keep-alive\r\n", "Host: x\r\nProxy-Connection: keep-alive\r\n"):
        wire = asyncio.run(one(get("/", lines, "HTTP/1.0"), handle=pieces))
        assert (wire.answers, wire.ended) == ([(200, b"abc")], True)
        assert b"chunked" not in wire.transport.written
    wire = asyncio.run(one(GET * 2, handle=pieces))
    assert (wire.answers, wire.ended) == ([(200, b"abc")] * 2, False)
    wire = asyncio.run(one(get("/", method="HEAD") + GET, handle=pieces))
    assert answers(bytes(wire.transport.written), "H") == [(200, b""), (200, b"abc")]


def test_answers_without_a_body_have_none() -> None:
    async def empty(request: Request) -> None:
        if request.path == "/stream":
            stream = request.stream(204, [])
            await stream.send(b"a")
            stream.end()
        else:
            request.respond(304, [], b"")

    wire = asyncio.run(one(get("/stream") + get("/whole"), handle=empty))
    assert wire.answers == [(204, b""), (304, b"")]
    assert b"length" not in wire.transport.written
    assert b"chunked" not in wire.transport.written
    wire = asyncio.run(one(get("/", method="HEAD") + GET))
    assert answers(bytes(wire.transport.written), "H") == [(200, b""), (200, b"2 /b")]
    assert b"content-length: 3\r\n" in wire.transport.written


@pytest.mark.parametrize("headers", [[("a", "b\r\nc: d")], [("a", "b\nc")], [("a\0", "b")]])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_header_that_would_end_its_head_is_never_sent(headers: list[tuple[str, str]], in_pieces: bool) -> None:
    async def bad(request: Request) -> None:
        if in_pieces:
            stream = request.stream(200, headers)
            await stream.send(b"secret")
            stream.end()
        else:
            request.respond(200, headers, b"secret")

    wire = asyncio.run(one(GET, handle=bad))
    assert (wire.answers, wire.ended) == ([(500, b"")], True)


def test_a_body_is_asked_for_only_when_somebody_wants_it() -> None:
    async def scenario(handle: Any, body: bytes = b"") -> Wire:
        wire = Wire(handle)
        await wire.send(HEAD + b"Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n" + body)
        return wire

    wire = asyncio.run(scenario(None))
    assert wire.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"

    async def refuse(request: Request) -> None:
        request.respond(401, PLAIN, b"no")

    wire = asyncio.run(scenario(refuse))
    assert (wire.answers, wire.ended) == ([(401, b"no")], True), "who knows whether the body comes"
    assert [status for status, _ in asyncio.run(scenario(None, b"ab")).answers] == [200]

    async def early(request: Request) -> None:
        stream = request.stream(200, PLAIN)
        await request.read()
        stream.end()

    assert b"100 Continue" not in asyncio.run(scenario(early)).transport.written, "nothing is told amid an answer"

    async def old() -> Wire:
        return await one(sized(b"ab", HEAD.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\n"))

    assert [status for status, _ in asyncio.run(old()).answers] == [200]


@pytest.mark.parametrize(
    "lines",
    [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
    ],
)
def test_offers_of_other_protocols_are_requests_like_others(lines: str) -> None:
    offer = sized(b"body", HEAD + lines.encode())
    wire = asyncio.run(one(offer * 3 + GET))
    assert [(each.path, each.body) for each in wire.seen] == [("/a", b"body")] * 3 + [("/b", b"")]
    assert [status for status, _ in wire.answers] == [200] * 4
    assert set(wire.seen[0].headers) == {"host", "content-length"}
    chunked = HEAD + lines.encode() + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n\r\n"
    wire = Wire()
    asyncio.run(wire.send(*(bytes([byte]) for byte in chunked + GET)))
    assert [(each.path, each.body) for each in wire.seen] == [("/a", b"ab"), ("/b", b"")]


def test_an_offer_takes_nothing_from_what_else_a_request_says() -> None:
    wire = asyncio.run(one(get("/", "Host: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n") + GET))
    assert ([status for status, _ in wire.answers], wire.ended) == ([200], True)
    wire = asyncio.run(one(get("/", "Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", "HTTP/1.0") + GET))
    assert ([status for status, _ in wire.answers], wire.ended) == ([200], True)
    many = get("/", "Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n") * 4_000
    statuses = [status for status, _ in asyncio.run(one(many)).answers]
    assert statuses == [200] * MOST_WAITING + [503]


def test_targets() -> None:
    raw = get("http://h:80/x/y?z#f") + get("/%C3%A4%20b?%20=") + get("//h/x") + get("http://h?q")
    wire = asyncio.run(one(raw + get("*", method="OPTIONS")))
    assert [(each.path, each.query) for each in wire.seen] == [
        ("/x/y", "z#f"),
        ("/ä b", "%20="),
        ("//h/x", ""),
        ("/", "q"),
        ("*", ""),
    ]
    wire = asyncio.run(one(get("h:80", method="CONNECT") + GET))
    assert [status for status, _ in wire.answers] == [405]
