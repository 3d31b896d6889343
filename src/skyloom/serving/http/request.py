"""One request as the application gets it, and the way to answer it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

Headers = list[tuple[str, str]]
"""Headers of an answer; those of its framing (its length, whether the connection ends) are not among them."""

HELD = 256 * 1_024
"""So many bytes of a body wait to be asked for; then the client waits."""


class BrokenOff(Exception):
    """The client has left: its request is not whole, or its answer cannot go out."""


class Way(Protocol):
    """The connection of a request, as the request sees it."""

    scheme: str

    @property
    def has_left(self) -> bool:
        """Whether the client has left, or will send nothing more."""
        ...

    def address(self, end: str) -> tuple[str, int] | None:
        """Of an ``end`` of the connection (``peername``, ``sockname``), where that has one."""
        ...

    def go_on(self, request: "Request") -> None:
        """Somebody asks for the rest of the body."""
        ...

    def respond(self, request: "Request", status: int, headers: Headers, body: bytes) -> None: ...

    def begin_stream(self, request: "Request", status: int, headers: Headers, length: int | None) -> None: ...

    async def send_piece(self, request: "Request", piece: bytes) -> None: ...

    def end_stream(self, request: "Request", *, whole: bool) -> None: ...


class Request:
    """A request whose head has arrived. ``path`` is decoded, ``query`` is not; ``headers`` go by their names in small
    letters, those that came several times with commas between them."""

    __slots__ = (
        "_arrived",
        "_chunks",
        "_held",
        "_way",
        "_why",
        "answered",
        "begun",
        "body",
        "broken",
        "chunked",
        "expects",
        "headers",
        "keep",
        "method",
        "mute",
        "path",
        "query",
        "target",
        "unwanted",
        "version",
        "wanted",
        "whole",
    )

    def __init__(
        self, way: Way, method: str, path: str, query: str, headers: dict[str, str], *, keep: bool, expects: bool = False
    ) -> None:
        """Whether to ``keep`` the connection after the answer, and whether the client ``expects`` to be told before it sends
        its body (``100-continue``)."""
        self._way = way
        self.method, self.path, self.query, self.headers = method, path, query, headers
        self.keep, self.expects = keep, expects
        self.body: bytes | None = None
        """The whole body, once it has arrived, unless somebody has begun to take it in pieces."""
        self.mute = method == "HEAD"
        """Whether its answer goes out without its body."""
        self.version = "1.1"
        self.target = b""
        """What was asked for, as it was sent."""
        self.whole = self.answered = self.begun = self.wanted = self.broken = self.unwanted = False
        self._chunks: list[bytes] = []
        self._held = 0
        self._why = "the body broke off"
        self._arrived: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """How many pieces of the body wait to be asked for."""
        return len(self._chunks)

    @property
    def held(self) -> int:
        """How many bytes of the body do."""
        return self._held

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self._way.scheme

    @property
    def client(self) -> tuple[str, int] | None:
        """Whose request it is: address and port."""
        return self._way.address("peername")

    @property
    def server(self) -> tuple[str, int] | None:
        """Where it has arrived: address and port."""
        return self._way.address("sockname")

    @property
    def has_left(self) -> bool:
        """Whether the client has left, or will send nothing more; one of the latter may still read."""
        return self._way.has_left

    async def read(self) -> bytes:
        """The whole body, however long it is. Raises `BrokenOff` when the client leaves before its end."""
        self.wanted = True
        while self.body is None:
            self._way.go_on(self)
            await self._more()
        return self.body

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes, once. Raises `BrokenOff` when the client leaves before its end."""
        if self.body is not None:
            yield self.body
            return
        while chunks := await self.chunks():
            for chunk in chunks:
                yield chunk

    async def chunks(self) -> list[bytes]:
        """What of the body has come since the last time, in order; nothing at its end. Raises `BrokenOff` when the client
        leaves before that."""
        if self.body is not None:
            found = [] if self.begun else [self.body]
            self.begun = True
            return found
        self.begun = True
        while True:
            self._way.go_on(self)
            if self._chunks:
                found, self._chunks, self._held = self._chunks, [], 0
                return found
            if self.whole:
                return []
            await self._more()

    async def left(self) -> None:
        """Return when the client has left, or will send nothing more."""
        while not (self.broken or self._way.has_left):
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer with a whole body. To be called once; nothing happens when the client has left."""
        self._way.respond(self, status, headers, body)

    def stream(self, status: int, headers: Headers, length: int | None = None) -> "Stream":
        """Answer with a body that goes out piece by piece, of ``length`` bytes where that is known. To be called once."""
        self._way.begin_stream(self, status, headers, length)
        return Stream(self._way, self)

    def add(self, chunk: bytes) -> bool:
        """More of the body; whether so much waits that the client shall."""
        if self.unwanted:
            return False
        self._chunks.append(chunk)
        self._held += len(chunk)
        if self.begun:
            self._wake()
        return self._held > HELD and not self.wanted

    def end(self) -> None:
        """The body has arrived."""
        self.whole = True
        if not self.begun:
            self.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks = []
        self._wake()

    def drop(self) -> None:
        """The rest of the body is of no use to anybody."""
        self.unwanted = True
        self._chunks, self._held = [], 0

    def break_off(self, why: str = "") -> None:
        """The client has left, or ``why`` its body cannot be read on."""
        self.broken = True
        self._why = why or self._why
        self._wake()

    async def _more(self) -> None:
        if self.broken:
            raise BrokenOff(self._why)
        self._arrived = asyncio.get_running_loop().create_future()
        await self._arrived

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class Stream:
    """An answer that goes out piece by piece."""

    __slots__ = ("_request", "_way")

    def __init__(self, way: Way, request: Request) -> None:
        self._way, self._request = way, request

    async def send(self, piece: bytes) -> None:
        """One piece, as soon as the client has taken enough of those before it. Raises `BrokenOff` when it has left."""
        await self._way.send_piece(self._request, piece)

    def end(self, *, whole: bool = True) -> None:
        """There is no more; an answer that is not ``whole`` breaks its connection, so that the client can tell."""
        self._way.end_stream(self._request, whole=whole)
