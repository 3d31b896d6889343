"""Ids of traces and spans, and which traces are recorded.

Source: OpenTelemetry's specification of TraceIdRatioBased (probability sampling by trace id).
"""

import random

_LOW = (1 << 64) - 1


def new_trace_id() -> str:
    """32 random hexadecimal digits, not all zero."""
    return f"{random.getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    """16 random hexadecimal digits, not all zero."""
    return f"{random.getrandbits(64) or 1:016x}"


def is_recorded(trace_id: str, share: float) -> bool:
    """Whether a trace is among the ``share`` (0 to 1) that is recorded: decided by the lower half of its id, so that
    whoever has the same share decides the same.

    >>> is_recorded("0" * 31 + "1", 0.01), is_recorded("f" * 32, 0.99), is_recorded("f" * 32, 1.0)
    (True, False, True)
    """
    return int(trace_id[16:], 16) & _LOW < round(share * (1 << 64))
