"""Unary gRPC for the load generator: HTTP/2 with headers that never change, as RFC 9113 and RFC 7541 have it.

A client of the grpc package costs more than the servers that it would measure.
"""

import itertools
import struct
from collections.abc import Mapping, Sequence

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW_SETTING, _LARGEST = 4, 2**31 - 1


class Grpc:
    """One connection with one call at a time. An answer counts as a success when it brings a message; which one it is
    `first_message` tells."""

    def __init__(
        self, port: int, method: str, messages: Sequence[bytes], metadata: Mapping[str, str], first: int = 0
    ) -> None:
        told = {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": f"127.0.0.1:{port}",
            "te": "trailers",
            "content-type": "application/grpc",
            **metadata,
        }
        self._head = b"".join(_literal(name.encode(), value.encode()) for name, value in told.items())
        bodies = [b"\0" + struct.pack(">I", len(each)) + each for each in (*messages[first:], *messages[:first])]
        self._next = itertools.cycle(bodies).__next__
        self._stream = -1
        self._held = b""
        self._brought = 0

    def opening(self) -> bytes:
        wide = struct.pack(">HI", _WINDOW_SETTING, _LARGEST)
        return _PREFACE + _frame(_SETTINGS, 0, 0, wide) + _frame(_WINDOW, 0, 0, struct.pack(">I", _LARGEST - 65_535))

    def request(self) -> bytes:
        self._stream += 2
        self._brought = 0
        head = _frame(_HEADERS, _END_HEADERS, self._stream, self._head)
        return head + _frame(_DATA, _END_STREAM, self._stream, self._next())

    def feed(self, data: bytes) -> tuple[bool, bytes]:
        data = self._held + data if self._held else data
        at, size, whole, say = 0, len(data), False, b""
        while at + 9 <= size:
            length = int.from_bytes(data[at : at + 3], "big")
            if at + 9 + length > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == _DATA:
                self._brought += length
            elif kind == _SETTINGS and not flags & _ACK:
                say += _frame(_SETTINGS, _ACK, 0, b"")
            elif kind == _PING and not flags & _ACK:
                say += _frame(_PING, _ACK, 0, data[at + 9 : at + 17])
            elif kind in (_RESET, _GOAWAY):
                raise RuntimeError(f"the call was broken off: {data[at : at + 60]!r}")
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                whole = True
            at += 9 + length
        self._held = data[at:]
        if whole and self._brought <= 5:
            raise RuntimeError(f"the call brought no message: {data[:300]!r}")
        return whole, say


def first_message(answer: bytes) -> bytes:
    """The message of an answer's first call."""
    at, brought = 0, b""
    while at + 9 <= len(answer):
        length = int.from_bytes(answer[at : at + 3], "big")
        if answer[at + 3] == _DATA:
            brought += answer[at + 9 : at + 9 + length]
        at += 9 + length
    return brought[5 : 5 + int.from_bytes(brought[1:5], "big")]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field that no table of the receiver has to remember (RFC 7541, 6.2.2), without Huffman's code."""
    return b"\0" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, more = len(text) - 127, bytearray((127,))
    while rest >= 128:
        more.append(rest % 128 + 128)
        rest //= 128
    more.append(rest)
    return bytes(more) + text
