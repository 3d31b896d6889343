"""The request that is under way: known to everything that it sets off, on threads too."""

import functools
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

Attribute = str | int | float | bool


class Span(NamedTuple):
    """Something that was done for a request: from when to when (ns since 1970), and how it broke, if it did."""

    name: str
    begun_ns: int
    ended_ns: int
    attributes: Mapping[str, Attribute]
    error: str | None = None


class Recording:
    """The spans of one request that is traced. ``trace_id``, ``span_id`` (of the span around the whole request) and
    ``parent`` (the caller's, or empty) are hexadecimal digits; ``whole`` is that span, once the request is answered. Spans
    within it may be added by any thread."""

    __slots__ = ("_offset_ns", "parent", "span_id", "spans", "state", "trace_id", "whole")

    def __init__(self, trace_id: str, span_id: str, parent: str = "", state: str = "") -> None:
        self.trace_id, self.span_id, self.parent, self.state = trace_id, span_id, parent, state
        self.spans: list[Span] = []
        self.whole: Span | None = None
        self._offset_ns = time.time_ns() - time.perf_counter_ns()

    def add(self, name: str, begun: float, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        """Keep what began at ``begun`` (of `time.perf_counter`) and ends now."""
        self.spans.append(self._span(name, begun, attributes, error))

    def end(self, name: str, begun: float, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        """Keep the request itself, which ends now."""
        self.whole = self._span(name, begun, attributes, error)

    @property
    def count(self) -> int:
        """How many spans there are."""
        return len(self.spans) + (self.whole is not None)

    def _span(self, name: str, begun: float, attributes: Mapping[str, Attribute], error: str | None) -> Span:
        return Span(name, self._offset_ns + int(begun * 1e9), self._offset_ns + time.perf_counter_ns(), attributes, error)

    @property
    def exemplar(self) -> dict[str, str]:
        """What a histogram keeps of this request."""
        return {"trace_id": self.trace_id, "span_id": self.span_id}


class Underway(NamedTuple):
    """A request: its id, the id of its trace (empty without one), and what is recorded of it."""

    request_id: str
    trace_id: str = ""
    recording: Recording | None = None

    @property
    def exemplar(self) -> dict[str, str] | None:
        """What a histogram keeps of this request, if it is recorded."""
        return None if self.recording is None else self.recording.exemplar


UNDER_WAY: ContextVar[Underway | None] = ContextVar("under_way", default=None)


def recording() -> Recording | None:
    """What is recorded of the request that is under way here; ``None`` when it is not traced."""
    now = UNDER_WAY.get()
    return None if now is None else now.recording


def carried(function: Callable[..., _T]) -> Callable[..., _T]:
    """A function to be called on another thread, for the request that is under way here."""
    return function if UNDER_WAY.get() is None else functools.partial(copy_context().run, function)
