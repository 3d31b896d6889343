"""Requests that come by another way than a socket, answered as those that do: keys, limits, metrics and all."""

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
    return protocol.answer()


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
        self._answer = bytearray()
        self._head: tuple[int, list[tuple[str, str]]] | None = None

    def answer(self) -> Answered:
        """What was answered, once it is whole: piece by piece goes nowhere from here."""
        assert self._head is not None
        return Answered(*self._head, bytes(self._answer))

    def __call__(self) -> Awaitable[bytes]:
        return self._whole()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._head, self._answer = (status, headers), bytearray(body)

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> "_Within":
        self._head = status, headers
        return self

    async def send_bytes(self, data: bytes) -> None:
        self._answer += data

    async def _whole(self) -> bytes:
        return self._body
