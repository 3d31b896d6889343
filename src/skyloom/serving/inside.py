"""Requests that come by another way than a socket, answered as those that do: keys, limits, metrics and all."""

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from skyloom.serving.app import App
from skyloom.serving.wire import problem


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
    request = _Within(asked)
    await app.answer(request)
    return request.answer()


class _Within:
    """The part of a request that the server uses, of a body that is here already."""

    scheme = "https"

    def __init__(self, asked: Asked) -> None:
        self.method, self.path, self.body = asked.method, asked.path, asked.body
        self.headers = {**asked.headers, "content-length": str(len(asked.body))}
        self._answer = bytearray()
        self._head: tuple[int, list[tuple[str, str]]] | None = None
        self._is_whole = True

    def answer(self) -> Answered:
        """What was answered, once it is whole: piece by piece goes nowhere from here."""
        assert self._head is not None
        if not self._is_whole:
            broken = problem(500, "this server failed to answer to the end; its log says why")
            return Answered(broken.status, [("content-type", broken.content_type)], broken.body)
        return Answered(*self._head, bytes(self._answer))

    async def read(self) -> bytes:
        return self.body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.body

    def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._head, self._answer = (status, headers), bytearray(body)

    def stream(self, status: int, headers: list[tuple[str, str]]) -> "_Within":
        self._head = status, headers
        return self

    async def send(self, piece: bytes) -> None:
        self._answer += piece

    def end(self, *, whole: bool = True) -> None:
        self._is_whole = whole
