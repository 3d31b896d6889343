"""What is watched of requests beside counting them: their ids, their traces, and a line for those that are slow."""

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from skyloom.serving.services import Watching
from skyloom.serving.traces.context import caller_of
from skyloom.serving.traces.exporter import Exporter
from skyloom.serving.traces.ids import is_recorded, new_span_id, new_trace_id
from skyloom.serving.traces.request_ids import HEADER, sane
from skyloom.serving.traces.underway import UNDER_WAY, Recording, Underway
from skyloom.serving.wire import Headers

UNKNOWN = "unknown"
"""The route of a request that no contract answers."""
REQUESTS = "skyloom.requests"
"""The logger of the lines about requests."""

_log = logging.getLogger(REQUESTS)


class Asked(Protocol):
    """The part of a request of HTTP that a span tells of."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def scheme(self) -> str: ...


class Answered(NamedTuple):
    """How a request went: what a span is called, its attributes, and how this server broke, if it did."""

    name: str
    attributes: dict[str, Any]
    status: int | str
    error: str | None


class Watch:
    """Begins and ends what is watched of a request. ``exporter`` is there when requests are traced."""

    def __init__(self, watching: Watching, exporter: Exporter | None) -> None:
        self._exporter, self._share, self._slow_s = exporter, watching.trace_share, watching.log_requests_over

    def begin(self, headers: Headers) -> Underway:
        """Let a request be under way in this task: with the caller's id, or a new one, and under the caller's span."""
        said = sane(headers.get(HEADER, ""))
        caller = caller_of(headers) if self._exporter is not None else None
        if caller is not None:
            kept = Recording(caller.trace_id, new_span_id(), caller.span_id, caller.state) if caller.sampled else None
            now = Underway(said or caller.trace_id, caller.trace_id, kept)
        else:
            trace_id = new_trace_id()  # who names no request has it named by its trace
            if self._exporter is not None and is_recorded(trace_id, self._share):
                now = Underway(said or trace_id, trace_id, Recording(trace_id, new_span_id()))
            else:
                now = Underway(said or trace_id)
        UNDER_WAY.set(now)
        return now

    def end(self, now: Underway, began: float, told: Callable[..., Answered], *of: Any) -> None:
        """The request is answered, and took from ``began`` (of `time.perf_counter`) until now; ``told`` says how it went."""
        if now.recording is not None or self._slow_s is not None:
            self._tell(now, began, told(*of))
        UNDER_WAY.set(None)

    def _tell(self, now: Underway, began: float, answered: Answered) -> None:
        kept, took_s = now.recording, time.perf_counter() - began
        if kept is not None and self._exporter is not None:
            attributes = {**answered.attributes, "skyloom.request_id": now.request_id}
            kept.end(answered.name, began, attributes, answered.error)
            self._exporter.offer(kept)
        if self._slow_s is not None and (took_s >= self._slow_s or answered.error is not None):
            fields = {"request": answered.name, "status": answered.status, "seconds": round(took_s, 6)}
            _log.info("%s: %s in %.1f ms", answered.name, answered.status, took_s * 1e3, extra={"fields": fields})


def over_http(asked: Asked, route: str, status: int) -> Answered:
    """How a request of HTTP went, by the names of OpenTelemetry's semantic conventions (HTTP server spans, 1.45).

    Only what this server did wrong (a status of 500 or above) is an error.
    """
    known = asked.method in _METHODS
    attributes: dict[str, Any] = {
        "http.request.method": asked.method if known else "_OTHER",
        "http.response.status_code": status,
        "url.path": asked.path,
        "url.scheme": asked.scheme,
    }
    if not known:
        attributes["http.request.method_original"] = asked.method
    name = asked.method if known else "HTTP"
    if route != UNKNOWN:
        attributes["http.route"], name = route, f"{name} {route}"
    if status < 500:
        return Answered(name, attributes, status, None)
    return Answered(name, {**attributes, "error.type": str(status)}, status, f"status {status}")


def over_grpc(method: str, code: str) -> Answered:
    """How a call of gRPC went, likewise (RPC server spans). ``method`` is the service and the method."""
    attributes = {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": code}
    if code not in _BROKEN:
        return Answered(method, attributes, code, None)
    return Answered(method, {**attributes, "error.type": code}, code, code)


_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_BROKEN = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The codes that are a server's own errors, as the conventions say."""
