"""What travels between the HTTP server and a contract: a call in, a reply out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from skyloom.governance.access import Unauthenticated
from skyloom.kernel.errors import Conflict, DataError, NotFound, Refused, SkyloomError, Transient
from skyloom.serving.loaded import LoadedRelease

JSON = "application/json"


class Headers(Protocol):
    """The headers of a request, by their names in small letters."""

    def get(self, key: str, default: Any = ..., /) -> Any: ...

    def __contains__(self, key: str, /) -> bool: ...


_NONE: Headers = dict[str, str]()
_encode = msgspec.json.Encoder().encode


class Call(NamedTuple):
    """A request that has passed its policy. It is answered with the release that was current when it came, whatever is
    released meanwhile."""

    parameters: dict[str, str]
    body: bytes
    loaded: LoadedRelease | None
    content_type: str = ""
    headers: Headers = _NONE

    @property
    def release(self) -> LoadedRelease:
        """The release; `Problem` with 503 while there is none."""
        if self.loaded is None:
            raise Problem(503, "nothing has been released to this server yet")
        return self.loaded


class Reply(NamedTuple):
    """An answer: status, body, its media type, and headers beside those that every answer has. ``more`` is the rest of a
    body that goes out piece by piece."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    more: AsyncIterator[bytes] | None = None


def presented_key(headers: Headers) -> str | None:
    """The key of a request: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

    >>> presented_key({"authorization": "bearer sky_1"})
    'sky_1'
    """
    authorization: str = headers.get("authorization", "")
    if authorization.startswith("Bearer ") or authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    return headers.get("x-api-key", None)


Handler = Callable[[Call], Awaitable[Reply]]


class Problem(Exception):
    """A request that is answered with a status of 400 or above, and why; after ``retry_s`` seconds another try makes sense
    (of a 429 or 503). ``headers`` are those that the status needs."""

    def __init__(self, status: int, why: str, *, retry_s: float = 1.0, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.retry_s = retry_s
        self.headers = headers


Explain = Callable[[int, str], Reply]
"""What is answered when there is no answer: of a status (400 or above) and why, in a contract's own shape."""


def reply(value: Any, status: int = 200) -> Reply:
    """A value as a JSON reply.

    >>> reply({"live": True}).body
    b'{"live":true}'
    """
    return Reply(status, _encode(value))


def problem(status: int, why: str) -> Reply:
    """What a contract without a shape of its own answers when it cannot answer: ``{"error": why}``."""
    return reply({"error": why}, status)


_STATUS: tuple[tuple[type[SkyloomError], int], ...] = (
    (Unauthenticated, 401),
    (DataError, 400),
    (Refused, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Transient, 503),
)


def status_of(error: SkyloomError) -> int:
    """The HTTP status of an error: which side has to change something.

    >>> status_of(NotFound("no model m"))
    404
    """
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
