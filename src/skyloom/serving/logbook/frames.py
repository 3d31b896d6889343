"""Frames: receipts in a file, each piece with its length and a checksum, found again whatever happened around them.

A frame is a head of 32 bytes, the name of a model, and receipts of it: MessagePack, one after the other. The checksum is
a CRC-32 of all but itself that begins with the segment's ``seed``: what only looks like a frame (bytes that a client sent)
is none.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

MAGIC = b"\xf3SKY"
_HEAD = struct.Struct("<4sI")
_REST = struct.Struct("<QIIHxxxxxx")
HEAD = _HEAD.size + _REST.size


class Bytes(Protocol):
    """What frames are read from: bytes, or a file in memory."""

    def __getitem__(self, key: slice, /) -> bytes: ...
    def find(self, sub: bytes, start: int, end: int, /) -> int: ...


class Frame(NamedTuple):
    """``rows`` receipts of a model, at the bytes ``start`` to ``end``, written at ``at_ms`` (this machine's clock)."""

    start: int
    end: int
    model: str
    rows: int
    at_ms: int
    payload: bytes


class Damage(NamedTuple):
    """The bytes from ``start`` to ``end`` are no frame; ``torn``: nothing whole comes after them."""

    start: int
    end: int
    torn: bool


def framed(model: bytes, rows: int, at_ms: int, payload: bytes, seed: int) -> bytes:
    """A frame.

    >>> frame = framed(b"late", 1, 7, b"receipt", 5)
    >>> frame_at(frame, 0, len(frame), 5)
    Frame(start=0, end=43, model='late', rows=1, at_ms=7, payload=b'receipt')
    """
    checked = _REST.pack(at_ms, len(payload), rows, len(model)) + model + payload
    return _HEAD.pack(MAGIC, zlib.crc32(checked, seed)) + checked


def frame_head(model: bytes, rows: int, at_ms: int, payload: bytes | memoryview, seed: int) -> bytes:
    """What stands before the payload in a frame.

    >>> frame_head(b"late", 1, 7, b"receipt", 5) + b"receipt" == framed(b"late", 1, 7, b"receipt", 5)
    True
    """
    rest = _REST.pack(at_ms, len(payload), rows, len(model)) + model
    return _HEAD.pack(MAGIC, zlib.crc32(payload, zlib.crc32(rest, seed))) + rest


def frame_at(found: Bytes, at: int, end: int, seed: int) -> Frame | None:
    """The frame that begins at ``at`` and is over by ``end``; ``None`` when there is no whole one."""
    head = found[at : at + HEAD]
    if at + HEAD > end or head[:4] != MAGIC:
        return None
    at_ms, length, rows, named = _REST.unpack_from(head, _HEAD.size)
    stop = at + HEAD + named + length
    if stop > end:
        return None
    checked = found[at + _HEAD.size : stop]
    if zlib.crc32(checked, seed) != _HEAD.unpack_from(head)[1]:
        return None
    payload = _REST.size + named
    return Frame(at, stop, checked[_REST.size : payload].decode(), rows, at_ms, checked[payload:])


def frames(found: Bytes, at: int, end: int, seed: int) -> Iterator[Frame | Damage]:
    """Every frame from ``at`` to ``end``, and what lies between them that is none. Zeros at the end are nothing."""
    while at < end:
        frame = frame_at(found, at, end, seed)
        if frame is not None:
            yield frame
            at = frame.end
            continue
        follows = _following(found, at, end, seed)
        stop = at + len(found[at:end].rstrip(b"\0")) if follows is None else follows
        if stop > at:
            yield Damage(at, stop, follows is None)
        if follows is None:
            return
        at = follows


def _following(found: Bytes, at: int, end: int, seed: int) -> int | None:
    """Where the next whole frame after ``at`` begins."""
    at = found.find(MAGIC, at + 1, end)
    while at >= 0:
        if frame_at(found, at, end, seed) is not None:
            return at
        at = found.find(MAGIC, at + 1, end)
    return None
