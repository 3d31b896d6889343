"""The application: routes, each with the scope that it needs, behind one check of keys."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from skyloom.governance.access import Forbidden, Keyring, Unauthenticated
from skyloom.governance.keys import active_keys
from skyloom.kernel.errors import Conflict, NotFound, SkyloomError, Transient
from skyloom.platform import Platform

_log = logging.getLogger("skyloom.api")

_KEYS_AGE_S = 1.0
_LONGEST = 1_000_000
"""The longest body, in bytes, and how long it may take to come."""
_BODY_S = 10.0
_STATUS: tuple[tuple[type[SkyloomError], int], ...] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Transient, 503),
)

OPEN = "open"
"""The scope of a route that needs no key."""

Handler = Callable[..., Any]


class Keys:
    """The keys of the project: read again every second, and at once for a key that is not among them."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._read()

    def check(self, request: Request, scope: str) -> str:
        """The prefix of the key that asks, if it may. Raises `Unauthenticated` or `Forbidden`."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        presented = bearer or request.headers.get("x-api-key")
        if time.monotonic() - self._at > _KEYS_AGE_S:
            self._read()
        try:
            return self._keyring.check(presented, scope).prefix
        except Unauthenticated:
            self._read()  # it may have been made a moment ago
            return self._keyring.check(presented, scope).prefix

    def _read(self) -> None:
        self._keyring, self._at = Keyring(active_keys(self._platform.metadata)), time.monotonic()


class Application:
    """Routes by method and path; a path that is not here is not there."""

    def __init__(self, platform: Platform, routes: "list[Route]") -> None:
        self._keys = Keys(platform)
        self.asgi = Starlette(exception_handlers={HTTPException: _no_route})
        for route in routes:
            self._add(route)

    def _add(self, route: "Route") -> None:
        async def endpoint(request: Request) -> Response:
            return await self._answer(route, request)

        self.asgi.add_route(route.path, endpoint, methods=[route.method], name=route.name)

    def explain(self, status: int, why: str) -> tuple[int, list[tuple[str, str]], bytes]:
        """What is answered where no route could: status, headers, body."""
        found = _problem(status, why)
        return status, [("content-type", "application/json")], bytes(found.body)

    async def _answer(self, route: "Route", request: Request) -> Response:
        try:
            prefix = "" if route.scope == OPEN else await run_in_threadpool(self._keys.check, request, route.scope)
            body = await _body(request)
            values = msgspec.convert(_decoded(body), route.body, strict=True) if route.body else None
            actor = f"key sky_{prefix}"
            result = await run_in_threadpool(
                route.handler, *request.path_params.values(), *([values, actor] if values else [])
            )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # what does not fit its type is a kind of the first
            return _problem(400, str(error))
        except RecursionError:
            return _problem(400, "the JSON is nested too deep")
        except _Unread as error:
            return _problem(error.status, str(error))
        except SkyloomError as error:
            status = next((code for kind, code in _STATUS if isinstance(error, kind)), 400)
            return _problem(status, error.what, error.tried, error.fix)
        except Exception:  # noqa: BLE001  the edge of a request: whatever it met, the others go on
            _log.exception("%s could not be answered", route.name)
            return _problem(500, "the API failed to answer", fix="read its log, which says why")
        return result if isinstance(result, Response) else _json(result, 200)


class Route(msgspec.Struct, frozen=True):
    """One route: ``handler`` is called with the path's values and, when there is a ``body`` type, the decoded body and the
    name of who asks. ``scope`` is what the key must allow, or `OPEN`."""

    method: str
    path: str
    scope: str
    handler: Handler
    body: type[msgspec.Struct] | None = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


class _Unread(Exception):
    """A body that could not be read."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


async def _body(request: Request) -> bytes:
    """The whole body. Raises `_Unread` for one that is too long, too slow, or that breaks off."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for piece in request.stream():
                body += piece
                if len(body) > _LONGEST:
                    raise _Unread(413, f"the body is longer than {_LONGEST:,} bytes")
    except TimeoutError as error:
        raise _Unread(408, f"the body did not arrive within {_BODY_S:g} s") from error
    except ClientDisconnect as error:
        raise _Unread(400, "the body broke off") from error
    return bytes(body)


def _decoded(body: bytes) -> Any:
    return msgspec.json.decode(body or b"{}")


def _problem(status: int, what: str, tried: str = "", fix: str = "") -> Response:
    return _json({"error": what, "tried": tried, "next": fix}, status)


async def _no_route(request: Request, error: Exception) -> Response:
    """A path or a method that is not there."""
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}", fix="GET /api/project")


def _json(value: object, status: int) -> Response:
    return Response(msgspec.json.encode(value, enc_hook=str), status, media_type="application/json")
