"""Clients in one event loop, many at a time: what they were answered is counted."""

import asyncio
import os
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

SOAK = int(os.environ.get("SKYLOOM_SOAK", "1"))
"""How many times as much is tried as in a quick run."""


class Answered(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


def request(method: str, path: str, key: str, body: object = None, **headers: str) -> bytes:
    """The bytes of a request."""
    content = b"" if body is None else msgspec.json.encode(body)
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: localhost",
        f"authorization: Bearer {key}",
        f"content-length: {len(content)}",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "content-type: application/json", "", ""]).encode() + content


class Client:
    """One connection, kept for as long as the server keeps it, opened again when it was closed between two requests, and
    after each ``lasts`` requests, if that is given."""

    def __init__(self, port: int, lasts: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._port, self.lasts, self.asked, self._tls = port, lasts, 0, tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.local = 0
        """The port of this end."""
        self.shown: bytes | None = None
        """The certificate that the server showed, DER."""
        self.broken = 0
        """The port of this end of the last connection that broke."""

    async def ask(self, content: bytes) -> Answered:
        self.asked += 1
        if self.lasts and self.asked % self.lasts == 0:
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
            self.local = self._streams[1].get_extra_info("sockname")[1]
            if self._tls is not None:
                self.shown = self._streams[1].get_extra_info("ssl_object").getpeercert(binary_form=True)
        reader, writer = self._streams
        try:
            writer.write(content)
            answered = await read_answer(reader)
        except BaseException:
            self.broken = self.local
            self.close()
            raise
        if answered.headers.get("connection") == "close":
            self.close()
        return answered

    def close(self) -> None:
        if self._streams is not None:
            transport = self._streams[1].transport
            transport.close() if self._tls is None else transport.abort()  # a goodbye of TLS would outlive the loop
            self._streams = None


async def read_answer(reader: asyncio.StreamReader) -> Answered:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    is_json = "json" in headers.get("content-type", "")
    return Answered(int(first.split()[1]), headers, msgspec.json.decode(body) if is_json else body)


class Load:
    """What clients were answered: how often each status, and what failed without one."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.answers: list[Answered] = []

    @property
    def total(self) -> int:
        return sum(self.statuses.values()) + len(self.failures)

    async def drive(
        self, client: Client, content: Callable[[], bytes], done: Callable[[], bool], rest_s: float = 0.0
    ) -> None:
        """Ask again and again until ``done``; rest after a refusal."""
        try:
            while not done():
                try:
                    answered = await client.ask(content())
                except (OSError, asyncio.IncompleteReadError) as error:
                    self.failures.append(repr(error))
                    continue
                self.statuses[answered.status] += 1
                self.answers.append(answered)
                if answered.status != 200 and rest_s:
                    await asyncio.sleep(rest_s)
        finally:
            client.close()


def together(*work: Awaitable[Any]) -> None:
    """Run coroutines at the same time, in an event loop of their own; what one of them raises is raised."""

    async def all_of_them() -> None:
        await asyncio.gather(*work)

    asyncio.run(all_of_them())


def tell(counted: str) -> None:
    """Print what a test counted (pytest shows it with ``-s``, and when the test fails)."""
    sys.stdout.write(counted + "\n")
