"""Protocol Buffers as far as model files need them: the fields of a message, where they begin and end."""

import re
from collections.abc import Iterator

# Trees hold their nodes as long runs of floats (field 7), integers (8) and short mode names (9): skipped in one go.
_BULK = re.compile(rb"(?:\x3d.{4}|\x40[\x80-\xff]{0,9}[\x00-\x7f]|\x4a\x04.{4}|\x4a\x09.{9}|\x4a\x0a.{10})+", re.DOTALL)


def fields(message: bytes, start: int, end: int, *, bulk: bool = False) -> Iterator[tuple[int, int, int]]:
    """The fields of the message between two bytes: number, first byte and end of the content; ``bulk`` leaves out runs of
    numbers and short names (of an attribute of ONNX). Raises `IndexError` for what is no such message.

    >>> list(fields(bytes([0x08, 0x05, 0x12, 0x01, 0x61]), 0, 5))
    [(1, 1, 2), (2, 4, 5)]
    """
    position = start
    while position < end:
        if bulk and (run := _BULK.match(message, position, end)):
            position = run.end()
            continue
        key, first = _varint(message, position)
        wire = key & 7
        if wire == 0:
            _, last = _varint(message, first)
        elif wire == 2:
            length, first = _varint(message, first)
            last = first + length
        elif wire in (1, 5):
            last = first + (8 if wire == 1 else 4)
        else:
            raise IndexError(f"wire type {wire} at byte {position}")
        if last > end:
            raise IndexError(f"field {key >> 3} at byte {position} is cut off")
        yield key >> 3, first, last
        position = last


def text(message: bytes, first: int, last: int) -> str:
    """The content of a field that is a text."""
    return message[first:last].decode()


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError(f"a number at byte {position} does not end")
