"""What a caller says of the trace that its request is part of.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/, sections 3.2 and 3.3.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from skyloom.serving.wire import Headers

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
"""The only header of a caller that SageMaker passes on: there a trace's context is written as
``traceparent=00-...;tracestate=...``."""

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MOST_MEMBERS = 32
_LONGEST = 8_192
_INSIDE = re.compile(r"(?:^|[;,&\s])(traceparent|tracestate)=([^;&\s]+)", re.IGNORECASE)


class Caller(NamedTuple):
    """The span of the caller: ids in hexadecimal digits (32 and 16), whether it is recorded, and the ``tracestate``."""

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""


def caller_of(headers: Headers) -> Caller | None:
    """The caller's span; ``None`` when the headers name none, or none that is valid: then a trace begins here.

    >>> told = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "congo=t61rcWkgMzE"}
    >>> caller_of(told)
    Caller(trace_id='4bf92f3577b34da6a3ce929d0e0e4736', span_id='00f067aa0ba902b7', sampled=True, state='congo=t61rcWkgMzE')
    >>> caller_of({"traceparent": "00-00000000000000000000000000000000-00f067aa0ba902b7-01"})
    """
    told = _lines(headers, "traceparent")
    if told:
        return _caller(told[0], _lines(headers, "tracestate")) if len(told) == 1 else None
    attributes: str = headers.get(CUSTOM_ATTRIBUTES, "")
    if "traceparent=" not in attributes:
        return None
    inside = dict(_INSIDE.findall(attributes[:_LONGEST]))
    return _caller(inside.get("traceparent", ""), [inside["tracestate"]] if "tracestate" in inside else [])


def _lines(headers: Any, name: str) -> list[str]:
    """Every line of a header. Requests that came by no socket have one of each."""
    if isinstance(headers, Mapping):
        return [headers[name]] if name in headers else []
    return list(headers.get_all(name))


def _caller(parent: str, states: list[str]) -> Caller | None:
    found = _PARENT.fullmatch(parent.strip()[:_LONGEST])
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Caller(trace_id, span_id, bool(int(flags, 16) & 1), _state(states))


def _state(lines: list[str]) -> str:
    """The members of ``tracestate`` in order; nothing when one of them is none, is there twice, or there are too many."""
    members = [member for line in lines for each in line[:_LONGEST].split(",") if (member := each.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    if len(members) > _MOST_MEMBERS or len(keys) < len(members) or not all(map(_MEMBER.fullmatch, members)):
        return ""
    return ",".join(members)
