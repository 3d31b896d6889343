"""A server of HTTP on a socket that somebody else made and keeps."""

import asyncio

import pytest

from skyloom.kernel.errors import UsageError
from skyloom.serving.http import HttpServer, Request
from skyloom.serving.listener import listening
from skyloom.serving.loop import run
from skyloom.serving.services import Listen


async def answer(request: Request) -> None:
    request.respond(200, [], request.method.encode())


def explain(status: int, why: str) -> tuple[int, list[tuple[str, str]], bytes]:
    return status, [], why.encode()


async def ask(port: int, address: str) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(b"GET / HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n")
    answered = await reader.read()
    writer.close()
    return answered


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_who_is_asked_to_end_before_it_has_begun_ends_and_leaves_the_socket_to_others(address: str) -> None:
    async def main() -> bytes:
        with listening(Listen(address, 0)) as listener:
            port = listener.getsockname()[1]
            first, second = (HttpServer(answer, explain, listener) for _ in range(2))
            first.stop()
            await asyncio.wait_for(first.serve(), 30)
            asking = asyncio.create_task(ask(port, address))  # waits in the queue of the socket
            serving = asyncio.create_task(second.serve())
            answered = await asyncio.wait_for(asking, 30)
            second.stop()
            await asyncio.wait_for(serving, 30)
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 30)
            writer.close()
            return answered

    assert run(main()).endswith(b"\r\n\r\nGET")


def test_an_address_that_is_taken_is_told() -> None:
    with listening(Listen("127.0.0.1", 0)) as first:
        taken = Listen("127.0.0.1", first.getsockname()[1])
        with pytest.raises(UsageError, match="cannot be listened on: Address already in use"):
            listening(taken)
