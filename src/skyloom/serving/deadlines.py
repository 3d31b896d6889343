"""How long a caller waits: said by a header, known to everything that a request sets off."""

import math
import time
from contextvars import ContextVar

from skyloom.serving.wire import Headers, Problem

HEADERS = ("x-request-timeout", "grpc-timeout", "x-envoy-expected-rq-timeout-ms")
"""Headers that say how long the caller waits from now on, the strongest first: seconds, a number and one of gRPC's units
(``H M S m u n``, hours to nanoseconds; PROTOCOL-HTTP2.md of gRPC), milliseconds."""

_UNITS = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_NEVER = math.inf
_DEADLINE: ContextVar[float] = ContextVar("deadline", default=_NEVER)


def seconds_left(headers: Headers) -> float | None:
    """How many seconds the caller says it waits; ``None`` when it says nothing.

    >>> seconds_left({"x-request-timeout": "0.25"}), seconds_left({"grpc-timeout": "20m"}), seconds_left({})
    (0.25, 0.02, None)

    Raises `Problem` with 400 for what is no duration.
    """
    for name in HEADERS:
        said: str = headers.get(name, "")
        if said:
            return _seconds(name, said.strip())
    return None


def begin(left_s: float | None) -> None:
    """Let the request that is answered by this task have a deadline, ``left_s`` seconds from now."""
    if left_s is not None:
        _DEADLINE.set(time.monotonic() + left_s)


def require_time() -> None:
    """Raise `Problem` with 504 when the deadline of this task's request has passed: nobody waits for its answer."""
    deadline = _DEADLINE.get()
    if deadline is not _NEVER and time.monotonic() >= deadline:
        raise expired()


deadline_s = _DEADLINE.get
"""When the deadline of this task's request passes (`time.monotonic`); infinite where it has none."""


def time_left_s() -> float:
    """The seconds until the deadline of this task's request; infinite where it has none."""
    deadline = _DEADLINE.get()
    return _NEVER if deadline is _NEVER else deadline - time.monotonic()


def shorten(left_s: float) -> None:
    """Let the request that is answered by this task have a deadline ``left_s`` seconds from now, or its own if that is
    earlier."""
    _DEADLINE.set(min(_DEADLINE.get(), time.monotonic() + left_s))


def expired() -> Problem:
    """What is answered when the deadline has passed."""
    return Problem(504, "the deadline of the request has passed; it was not answered")


def _seconds(name: str, said: str) -> float:
    number, scale = said, 1.0
    if name == "grpc-timeout":
        number, scale = said[:-1], _UNITS.get(said[-1], 0.0)
    elif name.endswith("-ms"):
        scale = 1e-3
    try:
        value = float(number) * scale
    except ValueError:
        value = math.nan
    if not (scale and 0 <= value < math.inf):
        raise Problem(400, f"{name}: {said!r} is no duration")
    return value
