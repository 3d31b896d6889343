"""A server on real sockets, on asyncio's own loop and on uvloop: whom it answers, whom it leaves, and how it ends."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from wires import answers

from skyloom.serving.http import BrokenOff, Headers, HttpServer, Request
from skyloom.serving.http.connection import Connection

PLAIN = [("content-type", "text/plain")]
GET = b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
MIB = 2**20


@pytest.fixture(params=[None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def run_on(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(main, 8))

    return run_on


def explain(status: int, why: str) -> tuple[int, Headers, bytes]:
    return status, PLAIN, why.encode()


class App:
    """Answers with the length of the body; ``/slow`` when it is let, ``/big`` and ``/stream`` with 8 MiB."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.begun: list[str] = []
        self.broken = 0

    async def __call__(self, request: Request) -> None:
        self.begun.append(request.path)
        try:
            if request.path == "/no":
                request.respond(401, PLAIN, b"no")
                return
            body = request.body if request.body is not None else await request.read()
            if request.path == "/slow":
                await self.let.wait()
            if request.path == "/stream":
                stream = request.stream(200, PLAIN)
                try:
                    for _ in range(128):
                        await stream.send(bytes(64 * 1_024))
                finally:
                    stream.end(whole=True)
                return
            request.respond(200, PLAIN, bytes(8 * MIB) if request.path == "/big" else str(len(body)).encode())
        except BrokenOff as error:
            self.broken += 1
            request.respond(400, PLAIN, str(error).encode())


class Running:
    """A server, and clients of it."""

    def __init__(self, app: App, server: HttpServer, listener: socket.socket) -> None:
        self.app, self.server = app, server
        self.port = listener.getsockname()[1]
        self.serving = asyncio.create_task(server.serve())

    async def connect(self, raw: bytes = b"", limit: int = 2**16) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        writer.write(raw)
        return reader, writer

    async def ask(self, raw: bytes) -> list[tuple[int, bytes]]:
        """What comes until the server ends the connection."""
        reader, writer = await self.connect(raw)
        found = await reader.read()
        await leave(writer)
        return answers(found)


async def leave(*writers: asyncio.StreamWriter) -> None:
    for each in writers:
        each.close()
        with suppress(ConnectionError):
            await each.wait_closed()


async def head(reader: asyncio.StreamReader) -> bytes:
    """One answer of a few bytes."""
    first = await reader.readuntil(b"\r\n\r\n")
    length = int(first.split(b"content-length: ")[1].split(b"\r\n")[0])
    return first + await reader.readexactly(length)


async def until(true: Callable[[], Any]) -> None:
    while not true():
        await asyncio.sleep(0.002)


def listening() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    listener.setblocking(False)
    return listener


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[Running]:
    app = App()
    with listening() as listener:
        running = Running(app, HttpServer(app, explain, listener, **options), listener)
        try:
            yield running
        finally:
            app.let.set()
            running.server.stop()
            await running.server.abort()
            await running.serving


def test_requests_are_answered_in_their_order_on_one_connection(run: Any) -> None:
    async def main() -> None:
        async with served() as here:
            last = b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
            assert await here.ask(GET * 50 + last) == [(200, b"0")] * 50 + [(200, b"3")]
            reader, writer = await here.connect()
            for byte in GET * 2:
                writer.write(bytes([byte]))
                await writer.drain()
            assert (await head(reader)).endswith(b"0")
            assert (await head(reader)).endswith(b"0")
            writer.write_eof()
            assert await reader.read() == b""
            await leave(writer)

    run(main())


def test_bodies_and_answers_of_any_size_pass(run: Any) -> None:
    async def main() -> None:
        async with served() as here:
            for path in ("/big", "/stream"):
                request = (
                    f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {6 * MIB}\r\n\r\n".encode()
                )
                (found,) = await here.ask(request + bytes(6 * MIB))
                assert found == (200, bytes(8 * MIB))

    run(main())


def test_who_half_closes_is_answered(run: Any) -> None:
    async def main() -> None:
        async with served() as here:
            reader, writer = await here.connect(SLOW * 2 + GET)
            writer.write_eof()
            await until(lambda: here.app.begun)
            here.app.let.set()
            assert answers(await reader.read()) == [(200, b"0")] * 3
            await leave(writer)
            reader, writer = await here.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
            writer.write_eof()
            assert answers(await reader.read()) == [(400, b"the body broke off")]
            await leave(writer)

    run(main())


def test_who_is_refused_early_hears_why_and_sends_on(run: Any) -> None:
    async def main() -> None:
        async with served() as here:
            post = b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000)
            reader, writer = await here.connect()
            for _ in range(3):
                writer.write(post)
                await writer.drain()
                assert (await head(reader)).startswith(b"HTTP/1.1 401")
            await leave(writer)
            (found,) = await here.ask(
                b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz" + bytes(3_000_000)
            )
            assert found[0] == 400, "its connection ends, but not before it hears that"

    run(main())


def test_who_does_not_read_is_cut(run: Any) -> None:
    async def main() -> None:
        async with served(patience_s=0.4, head_s=0.4) as here:
            for path in ("/big", "/stream"):
                with socket.socket() as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                    client.connect(("127.0.0.1", here.port))
                    client.sendall(GET.replace(b"/b", path.encode()))
                    await until(lambda: here.server._connections)
                    await until(lambda: not here.server._connections)

    run(main())


def test_who_reads_slowly_is_not_cut(run: Any) -> None:
    async def main() -> None:
        async with served(patience_s=0.4) as here:
            reader, writer = await here.connect(
                GET.replace(b"/b", b"/big").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
            found, paused, begun = b"", 0, asyncio.get_running_loop().time()
            while piece := await reader.read(65_536):
                found += piece
                if paused < 12 and len(found) > paused * 600_000:
                    paused += 1
                    await asyncio.sleep(0.1)
            assert asyncio.get_running_loop().time() - begun > 1.0
            assert answers(found) == [(200, bytes(8 * MIB))]
            await leave(writer)

    run(main())


def test_slow_heads_are_told_so(run: Any) -> None:
    async def main() -> None:
        async with served(head_s=0.2) as here:
            assert await here.ask(b"GET / HT") == [(408, b"the head of the request did not arrive in time")]
            assert await here.ask(b"") == []

    run(main())


def test_who_leaves_while_its_answer_goes_out_leaves_nothing_behind(run: Any) -> None:
    async def main() -> None:
        async with served() as here:
            for path in (b"/stream", b"/big", b"/slow"):
                reader, writer = await here.connect(GET.replace(b"/b", path), limit=1_024)
                if path != b"/slow":
                    await reader.readexactly(100)
                await until(lambda path=path: path.decode() in here.app.begun)
                writer.transport.abort()
                await leave(writer)
                here.app.let.set()
                await until(lambda: not here.server._connections)

    run(main())


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nab",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabzz",
        b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab" * 3,
        b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nab",
        b"nonsense\r\n\r\n",
        GET.replace(b"/b", b"/stream"),
        GET * 3 + b"GET ",
    ],
    ids=["whole", "half", "bad chunk", "offers", "refused", "nonsense", "pieces", "half a head"],
)
def test_nothing_of_ours_outlives_its_connection(run: Any, raw: bytes) -> None:
    """The collector of cycles is hardly ever asked while requests are answered."""

    async def main() -> None:
        async with served() as here:
            gc.collect()
            gc.disable()
            try:
                for aborts in (False, True):
                    here.app.begun.clear()
                    reader, writer = await here.connect(raw)
                    await until(lambda: here.app.begun or raw == b"nonsense\r\n\r\n")
                    if aborts:
                        writer.transport.abort()
                    else:
                        writer.write_eof()
                        await reader.read()
                    await leave(writer)
                    await until(lambda: not here.server._connections)
                for _ in range(5):
                    await asyncio.sleep(0)
                assert [each for each in gc.get_objects() if type(each) in (Connection, Request)] == []
            finally:
                gc.enable()

    run(main())


# The ends of a server.


def test_a_server_ends_when_those_who_have_asked_are_answered(run: Any) -> None:
    async def main() -> None:
        async with served(head_s=0.5) as here:
            idle = await here.connect(GET)
            await head(idle[0])
            await asyncio.sleep(0.9)
            busy, pipelined, half = await here.connect(SLOW), await here.connect(SLOW + GET), await here.connect(GET[:9])
            await until(lambda: here.app.begun.count("/slow") == 2 and len(here.server._connections) == 4)
            lately = await here.connect(GET)
            await head(lately[0])
            here.server.stop()
            assert await idle[0].read() == b"", "one that has long been idle ends at once"
            lately[1].write(GET)
            half[1].write(GET[9:])
            here.app.let.set()
            for reader, _ in (busy, pipelined, half, lately):
                found = await reader.read()
                assert answers(found) == [(200, b"0")]
                assert b"connection: close" in found
            await here.serving
            await leave(*(each[1] for each in (idle, busy, pipelined, half, lately)))

    run(main())


def test_one_that_was_used_lately_and_stays_silent_ends_too(run: Any) -> None:
    async def main() -> None:
        async with served() as here:
            reader, writer = await here.connect(GET)
            await head(reader)
            here.server.stop()
            await here.serving
            assert await reader.read() == b""
            await leave(writer)

    run(main())


def test_a_server_that_is_stopped_before_it_begins_ends(run: Any) -> None:
    async def main() -> None:
        with listening() as listener:
            for stop in (HttpServer.stop, HttpServer.stop_accepting):
                server = HttpServer(App(), explain, listener)
                stop(server)
                serving = asyncio.create_task(server.serve())
                await asyncio.sleep(0)
                server.stop()
                await serving

    run(main())


def test_a_server_that_is_stopped_while_it_begins_accepts_nobody(run: Any) -> None:
    async def main() -> None:
        for turns in range(4):
            with listening() as listener:
                server = HttpServer(App(), explain, listener)
                serving = asyncio.create_task(server.serve())
                for _ in range(turns):
                    await asyncio.sleep(0)
                server.stop_accepting()
                with socket.socket() as client:
                    client.connect(listener.getsockname())
                    for _ in range(20):
                        await asyncio.sleep(0)
                    assert not server._connections
                    server.stop()
                    await serving

    run(main())


def test_who_was_accepted_before_the_end_is_answered(run: Any) -> None:
    async def main() -> None:
        app = App()
        with listening() as listener:
            server = HttpServer(app, explain, listener)
            serving = asyncio.create_task(server.serve())
            clients = [await asyncio.open_connection(*listener.getsockname()) for _ in range(20)]
            for _, writer in clients:
                writer.write(GET)
            await until(lambda: server._connections)
            server.stop()
            await serving
            answered = [await asyncio.wait_for(reader.read(), 5) for reader, _ in clients[: len(app.begun)]]
            assert [answers(each) for each in answered] == [[(200, b"0")]] * len(answered)
            await leave(*(writer for _, writer in clients))

    run(main())


def test_others_take_the_socket_over_and_nobody_is_refused(run: Any) -> None:
    async def main() -> None:
        with listening() as listener:
            first, second = App(), App()
            old, new = HttpServer(first, explain, listener), HttpServer(second, explain, listener)
            serving = asyncio.create_task(old.serve())
            here = Running.__new__(Running)
            here.port = listener.getsockname()[1]
            kept = await here.connect(GET)
            await head(kept[0])
            old.stop_accepting()
            waiting = await here.connect(GET)
            kept[1].write(GET)
            await head(kept[0])
            assert not second.begun
            taking_over = asyncio.create_task(new.serve())
            await head(waiting[0])
            assert (first.begun, second.begun) == (["/b"] * 2, ["/b"])
            for each in (old, new):
                each.stop()
            await leave(kept[1], waiting[1])
            await asyncio.gather(serving, taking_over)

    run(main())


def test_connections_are_left_behind_between_two_requests(run: Any) -> None:
    async def main() -> None:
        async with served() as here:
            here.server.goodbye_s = 0.2
            silent, used = await here.connect(GET), await here.connect(GET)
            for reader, _ in (silent, used):
                await head(reader)
            here.server.leave_behind(0.0)
            later = await here.connect(GET)
            used[1].write(GET)
            found = await used[0].read()
            assert answers(found) == [(200, b"0")]
            assert b"connection: close" in found
            assert await silent[0].read() == b""
            await head(later[0])
            later[1].write(GET)
            assert b"connection: close" not in await head(later[0]), "new ones stay"
            await leave(silent[1], used[1], later[1])

    run(main())


def test_connections_beyond_the_limit_wait_and_the_longest_idle_ones_end(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with served() as here:
            here.server._most = 16
            first = [await here.connect(GET)]
            await head(first[0][0])
            begun = here.server.now
            await until(lambda: here.server.now > begun)
            first += [await here.connect(GET) for _ in range(15)]
            for reader, _ in first[1:]:
                await head(reader)
            assert "there are 16 connections: new ones wait" in caplog.text
            more = [await here.connect(GET) for _ in range(3)]
            for reader, _ in more:
                assert answers(await head(reader)) == [(200, b"0")]
            assert len(here.server._connections) <= 16 + len(more)
            assert await first[0][0].read() == b"", "the first of them"
            assert not first[-1][0].at_eof()
            await leave(*(writer for _, writer in [*first, *more]))

    run(main())


def test_a_server_that_cannot_open_its_socket_again_tries_on(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with served() as here:
            here.server._most = 1
            first = await here.connect(GET)
            await head(first[0])
            accept, tries = here.server._accept, list[int]()

            async def failing() -> None:
                tries.append(1)
                if len(tries) < 3:
                    raise OSError(24, "Too many open files")
                await accept()

            monkeypatch.setattr(here.server, "_accept", failing)
            await leave(first[1])
            here.server._tick_s = 0.01
            second = await here.connect(GET)
            await head(second[0])
            assert len(tries) == 3
            await leave(second[1])

    run(main())
