"""Clients that leave, applications that fail, and servers that end: whoever is left hears of it, and waits for nobody."""

import asyncio

import pytest
from wires import HIGH_WATER, Wire

from skyloom.serving.http import BrokenOff, Request

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


def test_half_closed_clients_get_their_answers() -> None:
    async def scenario(tls: bool) -> Wire:
        held = Held()
        wire = Wire(held, tls=tls)
        await wire.send(GET * 3)
        if not wire.connection.eof_received():
            wire.transport.close()
        await wire.settle()
        await wire.pass_time(wire.server.patience_s * 3)
        held.let.set()
        await wire.settle()
        return wire

    wire = asyncio.run(scenario(False))
    assert (statuses(wire), wire.transport.events) == ([200] * 3, ["close"])
    assert statuses(asyncio.run(scenario(True))) == [], "TLS has no half-closed connections"


@pytest.mark.parametrize("leaves", ["eof", "lost"])
def test_clients_that_leave_amid_their_request_are_noticed(leaves: str) -> None:
    broken: list[str] = []

    async def take(request: Request) -> None:
        try:
            await request.read()
        except BrokenOff as error:
            broken.append(str(error))
        request.respond(400, PLAIN, b"broken")

    async def scenario(opening: bytes) -> Wire:
        wire = Wire(take)
        await wire.send(opening)
        if leaves == "lost":
            wire.transport.abort()
        elif not wire.connection.eof_received():
            wire.transport.close()
        await wire.settle()
        return wire

    wire = asyncio.run(scenario(HEAD + b"Content-Length: 5\r\n\r\nab"))
    assert broken == ["the body broke off"]
    assert statuses(wire) == ([400] if leaves == "eof" else [])
    assert wire.ended
    wire = asyncio.run(scenario(HEAD))
    assert (statuses(wire), wire.ended) == ([], True), "half a head is no request"


def test_clients_that_leave_amid_an_answer_are_noticed() -> None:
    seen: list[str] = []

    async def endless(request: Request) -> None:
        stream = request.stream(200, PLAIN)
        try:
            while True:
                await stream.send(b"a" * 10_000)
                await asyncio.sleep(0)
        except BrokenOff as error:
            seen.append(str(error))
        finally:
            stream.end(whole=False)

    async def scenario(blocked: bool) -> None:
        wire = Wire(endless)
        wire.transport.reads = not blocked
        await wire.send(GET)
        await wire.settle(30)
        assert len(wire.transport.written) < 3 * HIGH_WATER or not blocked
        wire.transport.abort()
        await wire.settle()
        assert wire.connection._now is None

    asyncio.run(scenario(False))
    asyncio.run(scenario(True))
    assert seen == ["the client has left before its answer was whole"] * 2


def test_an_answer_that_breaks_off_breaks_its_connection() -> None:
    async def half(request: Request) -> None:
        stream = request.stream(200, PLAIN)
        await stream.send(b"a")
        stream.end(whole=False)

    async def scenario() -> Wire:
        wire = Wire(half)
        await wire.send(GET * 2)
        return wire

    wire = asyncio.run(scenario())
    assert wire.transport.events == ["abort"]
    assert wire.transport.written.count(b"HTTP/1.1") == 1


# Applications that do not keep their word.


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("how", ["raises", "forgets", "cancels", "breaks off"])
def test_who_is_not_answered_does_not_wait(how: str, waits: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def bad(request: Request) -> None:
        if waits:
            await asyncio.sleep(0)
        if how == "raises":
            raise ValueError("a mistake")
        if how == "cancels":
            raise asyncio.CancelledError
        if how == "breaks off":
            request.stream(200, PLAIN)

    async def scenario() -> Wire:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        wire = Wire(bad)
        await wire.send(GET * 2)
        return wire

    wire = asyncio.run(scenario())
    assert wire.transport.events == ["abort"]
    assert wire.transport.written.count(b"HTTP/1.1") == (how == "breaks off")


def test_nobody_is_answered_twice() -> None:
    later: list[Request] = []

    async def twice(request: Request) -> None:
        request.respond(200, PLAIN, b"one")
        request.respond(200, PLAIN, b"two")
        for each in later:
            each.respond(200, PLAIN, b"again")
        later.append(request)

    async def scenario() -> Wire:
        wire = Wire(twice)
        await wire.send(GET * 3)
        return wire

    assert asyncio.run(scenario()).answers == [(200, b"one")] * 3


def test_connections_end_between_requests_when_the_server_ends() -> None:
    async def scenario() -> None:
        held = Held()
        wire = Wire(held)
        await wire.send(GET)
        wire.server.closing = True
        held.let.set()
        await wire.settle()
        assert (statuses(wire), wire.transport.events) == ([200], ["close"])
        assert b"connection: close" in wire.transport.written
        wire = Wire()
        await wire.send(GET)
        wire.connection.leave_at = wire.server.now + 5
        await wire.pass_time(4)
        await wire.send(GET)
        assert not wire.ended
        await wire.pass_time(5 + wire.server.goodbye_s)
        assert (statuses(wire), wire.transport.events) == ([200, 200], ["close"])

    asyncio.run(scenario())


def test_a_request_that_arrives_with_the_last_moment_is_answered() -> None:
    async def scenario() -> None:
        wire = Wire()
        await wire.send(GET[:-1])
        wire.server.now += wire.server.head_s
        wire.connection.data_received(GET[-1:])
        wire.connection.look(wire.server.now)
        await wire.settle()
        assert (statuses(wire), wire.ended) == ([200], False)

    asyncio.run(scenario())
