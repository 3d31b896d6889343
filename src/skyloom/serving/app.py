"""The edge between the HTTP server and the contracts: finds the route, checks the key, reads the body, answers."""

import asyncio
import logging
import math
import time
import typing
from collections.abc import AsyncIterator
from typing import Any

from skyloom.kernel.errors import SkyloomError
from skyloom.kernel.records.release import KeyDigest
from skyloom.serving.deadlines import begin, expired, seconds_left
from skyloom.serving.http import BrokenOff, own_task
from skyloom.serving.life import Life
from skyloom.serving.metrics import Metrics
from skyloom.serving.obey import Obedience
from skyloom.serving.patience import Patience
from skyloom.serving.ratelimit import Rates
from skyloom.serving.router import pin_of
from skyloom.serving.services import Limits
from skyloom.serving.table import OPEN, Endpoint, Found, Table
from skyloom.serving.traces import HEADER, UNKNOWN, Watch, over_http
from skyloom.serving.wire import Call, Problem, Reply, presented_key, problem, status_of

_log = logging.getLogger("skyloom.serving")

_READ_AND_DROP = 16
"""A body that is too long is read this many times its limit and dropped, so that the client hears why."""

_PIECES = 1_024
_SMALLEST_PIECE = 32
"""A body of more than so many chunks has so many bytes in each, on average: a chunk costs as much time as a small body."""


class Stream(typing.Protocol):
    """An answer that goes out piece by piece."""

    async def send(self, piece: bytes) -> None: ...

    def end(self, *, whole: bool = True) -> None: ...


class Request(typing.Protocol):
    """What is used of a request: its head, its body, whole or as it comes, and the way to answer it."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def scheme(self) -> str: ...

    @property
    def headers(self) -> dict[str, str]: ...

    @property
    def body(self) -> bytes | None: ...

    async def read(self) -> bytes: ...

    def pieces(self) -> AsyncIterator[bytes]: ...

    def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...

    def stream(self, status: int, headers: list[tuple[str, str]]) -> Stream: ...


class App:
    """Answers every request with something: what goes wrong becomes a status and why, in the shape of the contract."""

    def __init__(
        self,
        table: Table,
        obedience: Obedience,
        life: Life,
        metrics: Metrics,
        limits: Limits,
        rates: Rates,
        watch: Watch | None = None,
    ) -> None:
        self._rates, self._watch = rates, watch
        self._table, self._obedience, self._life = table, obedience, life
        self._metrics, self._limits = metrics, limits
        self._patience = Patience(limits.body_seconds)
        self._meters: dict[tuple[str, int], tuple[Any, Any]] = {}

    async def answer(self, request: Request) -> None:
        """Answer a request."""
        started = time.perf_counter()
        self._life.in_flight += 1
        route, explain, retry_s, now = UNKNOWN, problem, 1.0, None
        try:
            if self._watch is not None:
                await own_task()  # what is under way is known to it alone
                now = self._watch.begin(request.headers)
            found = self._table.find(request.method, request.path)
            route, explain = found.endpoint.path, found.endpoint.explain
            left_s = seconds_left(request.headers)
            if left_s is None:
                answer = await self._answer(found.endpoint, found.parameters, request)
            else:
                answer = await self._in_time(found, request, left_s)
        except Problem as error:
            answer, retry_s = explain(error.status, error.why), error.retry_s
            answer = answer._replace(headers=(*answer.headers, *error.headers)) if error.headers else answer
        except SkyloomError as error:
            answer = explain(status_of(error), error.what)
        except Exception:  # noqa: BLE001  # the edge of a request: whatever it met, the others go on
            _log.exception("%s %s could not be answered", request.method, request.path)
            answer = explain(500, "this server failed to answer; its log says why")
        finally:
            self._life.in_flight -= 1
        headers = _headers(answer, retry_s)
        if now is not None:
            headers.append((HEADER, now.request_id))
        if answer.more is None:
            request.respond(answer.status, headers, answer.body)
        else:
            await self._stream(request, answer, answer.more, headers)
        counted, timed = self._meters.get((route, answer.status)) or self._found(route, answer.status)
        counted.inc()
        timed.observe(time.perf_counter() - started, now.exemplar if now is not None else None)
        if now is not None and self._watch is not None:
            self._watch.end(now, started, over_http, request, route, answer.status)

    def explain(self, status: int, why: str) -> tuple[int, list[tuple[str, str]], bytes]:
        """What is answered to what is no request of HTTP, or none that can be read."""
        answer = problem(status, why)
        counted, _ = self._found(UNKNOWN, status)
        counted.inc()
        return status, _headers(answer, 1.0), answer.body

    async def _stream(
        self, request: Request, answer: Reply, more: AsyncIterator[bytes], headers: list[tuple[str, str]]
    ) -> None:
        """Answer piece by piece, as long as somebody listens."""
        self._life.in_flight += 1
        whole, stream = False, request.stream(answer.status, headers)
        try:
            await stream.send(answer.body)
            async for piece in more:
                await stream.send(piece)
            whole = True
        except BrokenOff:
            _log.info("a caller left before its answer was whole")
        except Exception:  # noqa: BLE001  # the edge of a request
            _log.exception("%s %s could not be answered to its end", request.method, request.path)
        finally:
            stream.end(whole=whole)
            self._life.in_flight -= 1

    def _found(self, route: str, status: int) -> tuple[Any, Any]:
        """The meters of a route's answers: to find them by their labels costs more than to count."""
        found = self._metrics.requests.labels(route, str(status)), self._metrics.seconds.labels(route)
        self._meters[route, status] = found
        return found

    async def _in_time(self, found: Found, request: Request, left_s: float) -> Reply:
        """The answer, if there is one before the deadline that the caller has set."""
        await own_task()
        begin(left_s)
        try:
            async with asyncio.timeout(left_s):
                return await self._answer(found.endpoint, found.parameters, request)
        except TimeoutError as error:
            raise expired() from error

    async def _answer(self, endpoint: Endpoint, parameters: dict[str, str], request: Request) -> Reply:
        loaded, headers, body = self._obedience.now, request.headers, request.body
        longest = endpoint.longest or self._limits.body_bytes
        if endpoint.method != "POST":
            body = b""
        elif body is None or len(body) > longest:
            body = await self._body(request, longest)
        call = Call(parameters, body, loaded, headers.get("content-type", ""), headers)
        if endpoint.policy != OPEN:
            self._take(call.release.keys.check(presented_key(headers), endpoint.policy))
        if endpoint.method == "POST" and (pinned := pin_of(headers)):
            call.release.keys.check(presented_key(headers), "pin")
            call = call._replace(parameters={**parameters, "version": pinned})
        return await endpoint.handle(call)

    def _take(self, key: KeyDigest) -> None:
        try:
            self._rates.take(key)
        except Problem:
            self._metrics.refused.labels("", "rate").inc()
            raise

    async def _body(self, request: Request, longest: int) -> bytes:
        length = request.headers.get("content-length", "")
        announced = length.isdecimal() and int(length) <= longest
        await own_task()  # that is what patience has, or loses
        try:
            return await self._patience.wait(request.read() if announced else _unannounced(request, longest))
        except TimeoutError as error:
            raise Problem(408, f"the body did not arrive within {self._limits.body_seconds:g} s") from error
        except BrokenOff as error:
            raise Problem(400, str(error)) from error


async def _unannounced(request: Request, limit: int) -> bytes:
    """A body of unknown length, or one that is too long: kept up to the limit, then only read."""
    length = pieces = 0
    kept = bytearray()
    async for chunk in request.pieces():
        length += len(chunk)
        pieces += 1
        if pieces > _PIECES and length < pieces * _SMALLEST_PIECE:
            raise Problem(400, f"the body comes in pieces of fewer than {_SMALLEST_PIECE} bytes: send it in larger ones")
        if length > limit * _READ_AND_DROP:
            break
        if length <= limit:
            kept += chunk
    if length > limit:
        raise Problem(413, f"the body is longer than {limit:,} bytes")
    return bytes(kept)


def _headers(answer: Reply, retry_s: float) -> list[tuple[str, str]]:
    headers = [("content-type", answer.content_type), *answer.headers]
    if answer.status == 401:
        headers.append(("www-authenticate", "Bearer"))
    elif answer.status in (429, 503):
        headers.append(("retry-after", str(max(1, math.ceil(retry_s)))))
    return headers
