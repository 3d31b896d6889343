"""How calls of gRPC end (github.com/grpc/grpc, ``doc/statuscodes.md``)."""

from enum import IntEnum
from urllib.parse import quote

from skyloom.serving.grpc.hpack import literal


class Code(IntEnum):
    """The codes that are answered here."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.UNIMPLEMENTED,
    422: Code.OUT_OF_RANGE,
    429: Code.RESOURCE_EXHAUSTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""Status of HTTP -> code."""

_LONGEST = 4_000
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def trailers(code: Code, message: str = "") -> bytes:
    """The header block that ends a call (PROTOCOL-HTTP2.md of gRPC: the message is UTF-8, percent-encoded).

    >>> trailers(Code.NOT_FOUND, "50 %")
    b'\\x00\\x0bgrpc-status\\x015\\x00\\x0cgrpc-message\\x0650 %25'
    """
    status = literal("grpc-status", str(int(code)))
    return status + literal("grpc-message", quote(message[:_LONGEST], safe=_PLAIN)) if message else status
