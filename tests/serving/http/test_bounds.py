"""What a client may leave lying: it is bounded, told so, and keeps nobody for ever."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from load import SOAK
from wires import HIGH_WATER, Wire

from skyloom.serving.http import Request
from skyloom.serving.http.limits import LONGEST_HEAD, LONGEST_TARGET, MOST_HEADERS, MOST_WAITING
from skyloom.serving.http.request import HELD

PLAIN = [("content-type", "text/plain")]
HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
MIB = 2**20


def get(path: str, lines: str = "Host: x\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


def statuses(wire: Wire) -> list[int]:
    return [status for status, _ in wire.answers]


class Held:
    """An application that answers when it is let, with a body of some length."""

    def __init__(self, length: int = 2) -> None:
        self.begun: list[Request] = []
        self.let = asyncio.Event()
        self.length = length

    async def __call__(self, request: Request) -> None:
        self.begun.append(request)
        await self.let.wait()
        request.respond(200, PLAIN, b"a" * self.length)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (get("/" + "a" * LONGEST_TARGET), 414),
        (get("/", "Host: x\r\n" + "A: b\r\n" * MOST_HEADERS), 431),
        (get("/", "Host: x\r\nA: " + "b" * LONGEST_HEAD + "\r\n"), 431),
        (get("/", "Host: x\r\n" + "".join(f"A{each}: {'b' * 700}\r\n" for each in range(100))), 431),
    ],
)
def test_heads_are_bounded(raw: bytes, status: int) -> None:
    for step in (len(raw), 1_000, 17):
        wire = Wire()
        asyncio.run(wire.send(*(raw[at : at + step] for at in range(0, len(raw), step))))
        assert ([each for each, _ in wire.answers], wire.ended) == ([status], True)
    wire = Wire()
    asyncio.run(wire.send(*[raw[:-4]] * 2))
    assert [each for each, _ in wire.answers] == [status], "before its end, too"


def test_what_stands_beside_a_body_is_bounded() -> None:
    for opening in (b"0\r\nX: ", b"1;a=", b"0\r\n"):
        sent, wire = asyncio.run(_endless(CHUNKED + opening, (b"X: y\r\n" if opening == b"0\r\n" else b"a") * 1_000))
        assert sent <= 2 * LONGEST_HEAD
        assert [status for status, _ in wire.answers] == [400]
    sent, wire = asyncio.run(_endless(CHUNKED, b"20;extension\r\n" + b"a" * 32 + b"\r\n", 3 * HELD))
    assert sent > 2 * HELD, "small pieces are a body like others"
    assert wire.answers == []


async def _endless(opening: bytes, piece: bytes, longest: int = 10 * MIB) -> tuple[int, Wire]:
    wire, sent = Wire(), 0
    await wire.send(opening)
    while not wire.ended and sent < longest:
        wire.connection.data_received(piece)
        sent += len(piece)
        await wire.settle(2)
    return sent, wire


@pytest.mark.parametrize("at_once", [True, False])
def test_crumbs_are_refused(at_once: bool) -> None:
    crumbs = b"1\r\n \r\n" * 2_000
    wire = Wire()
    step = len(crumbs) if at_once else 600
    asyncio.run(wire.send(CHUNKED + crumbs[:step], *(crumbs[at : at + step] for at in range(step, len(crumbs), step))))
    ((status, why),) = wire.answers
    assert (status, wire.ended) == (400, True)
    assert b"pieces of fewer than 32 bytes" in why
    wire = Wire()
    asyncio.run(wire.send(HEAD + b"Content-Length: 3000\r\n\r\n", *[b"a"] * 3_000))
    assert [status for status, _ in wire.answers] == [200], "how a network cuts a body is not the client's choice"


def test_requests_ahead_of_their_answers_are_bounded_and_no_more_are_read() -> None:
    async def scenario() -> None:
        held = Held()
        wire = Wire(held)
        await wire.send(GET)
        assert wire.transport.reading
        await wire.send(GET)
        assert not wire.transport.reading, "one waits already"
        held.let.set()
        await wire.settle()
        assert (statuses(wire), wire.transport.reading) == ([200, 200], True)
        wire = Wire()
        await wire.send(GET * (MOST_WAITING + 2))
        assert statuses(wire) == [200] * MOST_WAITING + [503]

    asyncio.run(scenario())


def test_who_reads_no_answers_gets_no_more_of_them_and_is_cut_in_the_end() -> None:
    async def big(request: Request) -> None:
        request.respond(200, PLAIN, b"a" * HIGH_WATER)

    async def scenario() -> None:
        wire = Wire(big)
        wire.transport.reads = False
        await wire.send(GET * 100)
        while wire.transport.reading:
            await wire.send(GET)
        assert wire.transport.buffered < 4 * HIGH_WATER
        for _ in range(3):
            wire.transport.take(1)
            await wire.pass_time(wire.server.patience_s + 1)
            assert not wire.ended, "while it makes progress"
        await wire.pass_time(wire.server.patience_s + 1)
        assert wire.transport.events == ["abort"]
        wire = Wire(big)
        wire.transport.reads = False
        await wire.send(GET * 100)
        while wire.transport.buffered:
            wire.transport.take()
            await wire.settle()
        assert (statuses(wire), wire.transport.reading) == ([200] * 100, True)
        await wire.pass_time(wire.server.patience_s + 1)
        assert not wire.ended

    asyncio.run(scenario())


def test_a_small_answer_that_nobody_takes_holds_no_connection() -> None:
    async def scenario(ends: Callable[[Wire], Coroutine[Any, Any, None]]) -> None:
        wire = Wire()
        wire.transport.reads = False
        await wire.send(GET)
        await ends(wire)
        assert wire.transport.events == ["close"]
        await wire.pass_time(wire.server.patience_s + 1)
        assert wire.transport.events == ["close", "abort"]
        assert wire.server.here == set()

    async def by_eof(wire: Wire) -> None:
        if not wire.connection.eof_received():
            wire.transport.close()

    asyncio.run(scenario(by_eof))
    asyncio.run(scenario(lambda wire: wire.send(get("/", "Host: x\r\nConnection: close\r\n"))))
    asyncio.run(scenario(lambda wire: wire.pass_time(wire.server.idle_s + 1)))


def test_times() -> None:
    async def slow_head() -> None:
        wire = Wire()
        await wire.send(GET)
        await wire.pass_time(wire.server.idle_s / 2)
        for byte in GET[:20]:
            await wire.send(bytes([byte]))
            await wire.pass_time(wire.server.head_s / 22)
        assert statuses(wire) == [200]
        await wire.pass_time(wire.server.head_s / 2)
        assert (statuses(wire), wire.transport.events) == ([200, 408], ["eof"])
        await wire.send(b"\r\n\r\n" + GET)
        await wire.pass_time(10)
        assert (statuses(wire), wire.transport.events) == ([200, 408], ["eof", "abort"])

    async def silent(opening: bytes, seconds: float, lines: bytes = b"") -> None:
        wire = Wire()
        await wire.send(*([opening] if opening else []))
        for _ in range(9):
            await wire.pass_time(seconds / 10)
            await wire.send(*([lines] if lines else []))
        assert not wire.ended
        await wire.pass_time(seconds / 5)
        assert wire.transport.events == ["close"]

    asyncio.run(slow_head())
    asyncio.run(silent(b"", 10.0))
    asyncio.run(silent(GET, 600.0))
    asyncio.run(silent(b"", 10.0, b"\r\n"))
    asyncio.run(silent(GET, 600.0, b"\r\n"))


async def refuse(request: Request) -> None:
    request.respond(401, PLAIN, b"no")


def test_the_rest_of_a_body_that_nobody_wanted_is_read_within_bounds() -> None:
    async def scenario() -> None:
        for body in (b"a" * 3 * MIB, b"400\r\n" + b"a" * 1_024 + b"\r\n0\r\n\r\n"):
            wire = Wire(refuse)
            head = CHUNKED if b"\r" in body else HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
            for _ in range(10):
                await wire.send(head, *(body[at : at + MIB] for at in range(0, len(body), MIB)))
            await wire.send(GET)
            assert (statuses(wire), wire.ended) == ([401] * 11, False), "the connection is used again"
        wire = Wire(refuse)
        await wire.send(HEAD + b"Content-Length: 9999999999\r\n\r\n")
        assert not wire.ended
        for _ in range(17):
            await wire.send(b"a" * MIB)
        assert (statuses(wire), wire.transport.events) == ([401], ["eof"])
        for _ in range(17):
            await wire.send(b"a" * MIB)
        assert wire.transport.events == ["eof", "abort"]
        wire = Wire(refuse)
        await wire.send(HEAD + b"Content-Length: 999\r\n\r\n")
        for _ in range(4):
            await wire.send(b"a")
            await wire.pass_time(wire.server.head_s / 3)
        assert wire.transport.events == ["abort"], "it does not last for ever"
        wire = Wire(refuse)
        await wire.send(CHUNKED)
        sent = 0
        while not wire.ended:
            wire.connection.data_received(b"1\r\na\r\n" * 10_000)
            await wire.settle()
            sent += 10_000
        assert sent <= 600_000, "crumbs cost more than their bytes"

    asyncio.run(scenario())


def test_a_client_that_sends_all_before_it_reads_is_not_waited_for() -> None:
    """The answer to a body that nobody wants is longer than what buffers hold."""

    async def big(request: Request) -> None:
        request.respond(401, PLAIN, b"a" * 9 * HIGH_WATER)

    async def scenario() -> None:
        wire = Wire(big)
        wire.transport.reads = False
        await wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % MIB)
        for _ in range(16):
            assert wire.transport.reading
            await wire.send(b"a" * (MIB // 16))
        wire.transport.take()
        await wire.settle()
        wire.transport.reads = True
        await wire.send(GET)
        assert (statuses(wire), wire.ended) == ([401, 401], False)

    asyncio.run(scenario())


PAUSES = st.lists(st.booleans(), min_size=1, max_size=6)


@settings(max_examples=60 * SOAK, deadline=None)
@given(
    st.integers(1, 6 * HELD),
    st.integers(1_000, 3 * HELD),
    st.sampled_from(["read", "pieces", "late"]),
    st.booleans(),
    PAUSES,
)
def test_bodies_are_held_within_bounds_and_nobody_waits_for_ever(
    length: int, step: int, how: str, chunked: bool, pauses: list[bool]
) -> None:
    """For every order of arrival and reading. Who asks for the whole body bounds it by what was announced."""
    taken: list[bytes] = []

    async def take(request: Request) -> None:
        if how == "read":
            taken.append(await request.read())
        else:
            for _ in pauses if how == "late" else ():
                await asyncio.sleep(0)
            later = cycle(pauses)
            async for piece in request.pieces():
                taken.append(piece)
                if next(later):
                    await asyncio.sleep(0)
        request.respond(200, PLAIN, b"")

    async def scenario() -> None:
        wire = Wire(take)
        body = bytes(length)
        framed = b"".join(
            b"%x\r\n%b\r\n" % (len(each), each) for each in (body[at : at + 9_999] for at in range(0, length, 9_999))
        )
        raw = CHUNKED + framed + b"0\r\n\r\n" if chunked else HEAD + b"Content-Length: %d\r\n\r\n" % length + body
        at, idle = 0, 0
        while at < len(raw):
            if wire.transport.reading:
                wire.connection.data_received(raw[at : at + step])
                at, idle = at + step, 0
            request = wire.connection._now
            assert how == "read" or request is None or request.held <= HELD + step
            await asyncio.sleep(0)
            idle += 1
            assert idle < 50, "somebody waits for ever"
        await wire.settle(2 * len(raw) // step + 300)
        assert statuses(wire) == [200]
        assert b"".join(taken) == body

    asyncio.run(scenario())


def test_what_nobody_reads_is_held_within_bounds() -> None:
    async def scenario() -> None:
        held = Held()
        wire, sent = Wire(held), 0
        await wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % (4 * MIB))
        while wire.transport.reading:
            await wire.send(b"a" * 10_000)
            sent += 10_000
        assert sent <= HELD + 20_000
        held.let.set()
        await wire.settle()
        assert wire.transport.reading, "its rest is dropped"
        await wire.send(b"a" * (4 * MIB - sent), GET)
        assert statuses(wire) == [200, 200]

    asyncio.run(scenario())


# Clients that leave.
