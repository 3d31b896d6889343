"""The edge between the HTTP server (RSGI) and the contracts: finds the route, checks the key, reads the body, answers."""

import asyncio
import logging
import math
import time
import typing
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import granian.rsgi as _rsgi
from granian.rsgi import Scope

from skyloom.kernel.errors import SkyloomError
from skyloom.kernel.records.release import KeyDigest
from skyloom.serving.deadlines import begin, expired, seconds_left
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

_rsgi_any: Any = _rsgi  # its exceptions are re-exported unseen by type checkers
_BROKEN_OFF: tuple[type[Exception], ...] = (_rsgi_any.ProtocolClosed, _rsgi_any.ProtocolError)

_log = logging.getLogger("skyloom.serving")

_READ_AND_DROP = 16
"""A body that is too long is read this many times its limit and dropped, so that the client hears why."""

_PIECES = 1_024
_SMALLEST_PIECE = 32
"""A body of more than so many chunks has so many bytes in each, on average: a chunk costs as much time as a small body."""


class Stream(typing.Protocol):
    """An answer that goes out piece by piece."""

    async def send_bytes(self, data: bytes) -> None: ...


class Protocol(typing.Protocol):
    """The part of RSGI's HTTP protocol that is used: the body, whole or in chunks, and an answer of bytes, whole or not."""

    def __call__(self) -> Awaitable[bytes]: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Stream: ...


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
        self.closing = False
        """Whether connections are to end after the answer: those of a server whose certificate was replaced long ago."""

    async def __rsgi__(self, scope: Scope, protocol: Protocol) -> None:
        started = time.perf_counter()
        self._life.in_flight += 1
        route, explain, retry_s, now = UNKNOWN, problem, 1.0, None
        try:
            if self._watch is not None:
                now = self._watch.begin(scope.headers)
            found = self._table.find(scope.method, scope.path)
            route, explain = found.endpoint.path, found.endpoint.explain
            answer = await self._in_time(found, scope, protocol)
        except Problem as error:
            answer, retry_s = explain(error.status, error.why), error.retry_s
            answer = answer._replace(headers=(*answer.headers, *error.headers)) if error.headers else answer
        except SkyloomError as error:
            answer = explain(status_of(error), error.what)
        except Exception:  # noqa: BLE001  # the edge of a request: whatever it met, the others go on
            _log.exception("%s %s could not be answered", scope.method, scope.path)
            answer = explain(500, "this server failed to answer; its log says why")
        finally:
            self._life.in_flight -= 1
        headers = self._headers(answer, retry_s)
        if now is not None:
            headers.append((HEADER, now.request_id))
        if answer.more is None:
            protocol.response_bytes(answer.status, headers, answer.body)
        else:
            await self._stream(protocol, answer, answer.more, headers)
        counted, timed = self._meters.get((route, answer.status)) or self._found(route, answer.status)
        counted.inc()
        timed.observe(time.perf_counter() - started, now.exemplar if now is not None else None)
        if now is not None and self._watch is not None:
            self._watch.end(now, started, over_http, scope, route, answer.status)

    async def _stream(
        self, protocol: Protocol, answer: Reply, more: AsyncIterator[bytes], headers: list[tuple[str, str]]
    ) -> None:
        """Answer piece by piece, as long as somebody listens."""
        self._life.in_flight += 1
        try:
            stream = protocol.response_stream(answer.status, headers)
            await stream.send_bytes(answer.body)
            async for piece in more:
                await stream.send_bytes(piece)
        except _BROKEN_OFF:
            _log.info("a caller left before its answer was whole")
        finally:
            self._life.in_flight -= 1

    def _found(self, route: str, status: int) -> tuple[Any, Any]:
        """The meters of a route's answers: to find them by their labels costs more than to count."""
        found = self._metrics.requests.labels(route, str(status)), self._metrics.seconds.labels(route)
        self._meters[route, status] = found
        return found

    async def _in_time(self, found: Found, scope: Scope, protocol: Protocol) -> Reply:
        """The answer, if there is one before the deadline that the caller has set."""
        left_s = seconds_left(scope.headers)
        if left_s is None:
            return await self._answer(found.endpoint, found.parameters, scope, protocol)
        begin(left_s)
        try:
            async with asyncio.timeout(left_s):
                return await self._answer(found.endpoint, found.parameters, scope, protocol)
        except TimeoutError as error:
            raise expired() from error

    async def _answer(self, endpoint: Endpoint, parameters: dict[str, str], scope: Scope, protocol: Protocol) -> Reply:
        loaded = self._obedience.now
        body = await self._body(scope, protocol, endpoint.longest) if endpoint.method == "POST" else b""
        call = Call(parameters, body, loaded, scope.headers.get("content-type", ""), scope.headers)
        if endpoint.policy != OPEN:
            self._take(call.release.keys.check(presented_key(scope.headers), endpoint.policy))
        if endpoint.method == "POST" and (pinned := pin_of(scope.headers)):
            call.release.keys.check(presented_key(scope.headers), "pin")
            call = call._replace(parameters={**parameters, "version": pinned})
        return await endpoint.handle(call)

    def _take(self, key: KeyDigest) -> None:
        try:
            self._rates.take(key)
        except Problem:
            self._metrics.refused.labels("", "rate").inc()
            raise

    async def _body(self, scope: Scope, protocol: Protocol, longest: int) -> bytes:
        longest = longest or self._limits.body_bytes
        length = scope.headers.get("content-length", "")
        announced = length.isdecimal() and int(length) <= longest
        try:
            return await self._patience.wait(protocol() if announced else self._unannounced_body(protocol, longest))
        except TimeoutError as error:
            raise Problem(408, f"the body did not arrive within {self._limits.body_seconds:g} s") from error
        except _BROKEN_OFF as error:
            raise Problem(400, "the body broke off") from error

    async def _unannounced_body(self, protocol: Protocol, limit: int) -> bytes:
        """A body of unknown length, or one that is too long: kept up to the limit, then only read."""
        length = pieces = 0
        kept = bytearray()
        async for chunk in protocol:
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

    def _headers(self, answer: Reply, retry_s: float) -> list[tuple[str, str]]:
        headers = [("content-type", answer.content_type), *answer.headers]
        if answer.status == 401:
            headers.append(("www-authenticate", "Bearer"))
        elif answer.status in (429, 503):
            headers.append(("retry-after", str(max(1, math.ceil(retry_s)))))
        if self._life.ending or self.closing:
            headers.append(("connection", "close"))
        return headers
