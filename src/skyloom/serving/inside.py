"""Requests that come by another way than a socket, answered as those that do: keys, limits, metrics and all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, NamedTuple

from skyloom.serving.app import App


class Answered(NamedTuple):
    """An answer: status, headers (their names in small letters) and body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Asked(NamedTuple):
    """A request: ``headers`` by their names in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


async def ask(app: App, asked: Asked) -> Answered:
    """What the server answers."""
    protocol = _Within(asked.body)
    length = {"content-length": str(len(asked.body))}
    scope: Any = _Scope(asked.method, asked.path, {**asked.headers, **length})
    await app.__rsgi__(scope, protocol)
    return await protocol.answered


class _Scope(NamedTuple):
    """The part of RSGI's scope that the server looks at."""

    method: str
    path: str
    headers: Mapping[str, str]
    scheme: str = "https"


class _Within:
    """The part of RSGI's protocol that the server uses, of a body that is here already."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

    def __call__(self) -> Awaitable[bytes]:
        return self._whole()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answered.set_result(Answered(status, headers, body))

    async def _whole(self) -> bytes:
        return self._body
