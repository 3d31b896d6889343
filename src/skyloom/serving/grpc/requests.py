"""The head of a request of gRPC: which method it asks, and whether it is one at all."""

from collections.abc import Mapping, Sequence

from skyloom.serving.deadlines import seconds_left
from skyloom.serving.grpc.hpack import Field, literal
from skyloom.serving.grpc.status import CODES, Code, trailers
from skyloom.serving.grpc.stream import Head, Method
from skyloom.serving.wire import Problem

_STATUS_200, _TYPE = b"\x88", literal("content-type", "application/grpc")
OPENING = _STATUS_200 + _TYPE + literal("grpc-accept-encoding", "identity, deflate, gzip")
"""The header block that begins an answer."""
_UNSUPPORTED = literal(":status", "415")
_PSEUDO = frozenset({":method", ":scheme", ":path", ":authority", ":protocol"})
_OF_CONNECTIONS = frozenset({"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"})


def refused(code: Code, why: str) -> bytes:
    """The header block of an answer that is nothing but its end."""
    return _STATUS_200 + _TYPE + trailers(code, why)


def head_of(fields: Sequence[Field], methods: Mapping[str, Method]) -> Head:
    """The head that a header block is (RFC 9113, section 8; PROTOCOL-HTTP2.md of gRPC)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        pseudo = name.startswith(":")
        late_or_twice = pseudo and (name in headers or any(not each.startswith(":") for each in headers))
        unknown = name not in _PSEUDO if pseudo else name in _OF_CONNECTIONS or name != name.lower()
        if late_or_twice or unknown or (name == "te" and value != "trailers"):
            return Head(None, headers, wrong=True)
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    path = headers.get(":path", "")
    if not (path and headers.get(":method") and headers.get(":scheme")):
        return Head(None, headers, wrong=True)
    if headers[":method"] != "POST" or not headers.get("content-type", "").startswith("application/grpc"):
        return Head(None, headers, refusal=_UNSUPPORTED)
    try:
        seconds = seconds_left(headers)
    except Problem as problem:
        return Head(None, headers, refusal=refused(CODES[problem.status], problem.why))
    method = methods.get(path)
    if method is None:
        return Head(None, headers, refusal=refused(Code.UNIMPLEMENTED, f"there is no method {path}"))
    return Head(method, headers, seconds)
