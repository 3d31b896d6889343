"""Receipts of many rows at once, written as MessagePack by column: the bytes that encoding each receipt would give readers.

A receipt is a map of named fields; those of one answer differ in few of them. What is the same for all is encoded once, what
has one width (numbers, ids) is laid out by numpy, and only texts and missing values are encoded one by one.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyloom.ingest.rows import Value
from skyloom.kernel.records.prediction import Receipt
from skyloom.serving.numbered import Numbered

Column = NDArray[Any] | Sequence[Value]
"""Values of one column: an array of float64, float32, int64 or bool (none is missing), or a sequence of anything."""

_HEADS = {
    np.dtype(np.float64): (b"\xcb", np.dtype(">f8")),
    np.dtype(np.float32): (b"\xca", np.dtype(">f4")),
    np.dtype(np.int64): (b"\xd3", np.dtype(">i8")),
}
_KEPT = 8 << 20
"""The most bytes that a thread keeps to encode receipts in."""
_MEMORY = threading.local()
_FALSE = 0xC2
_ENCODER = msgspec.msgpack.Encoder()


class Receipts(NamedTuple):
    """What receipts of one version are made of: ``same`` has the fields that all share (`Receipt` without those here),
    ``inputs`` and ``request`` the columns of the model and of the caller, in order."""

    same: Mapping[str, Any]
    ids: Sequence[str]
    units: Sequence[str]
    at_ms: NDArray[np.int64]
    inputs: Sequence[Column]
    request: Mapping[str, Column]
    scores: NDArray[np.float64]

    def encode(self) -> bytes | memoryview:
        """All receipts as MessagePack, one after the other. The bytes are this thread's until the next receipts are encoded:
        memory that is used again need not be had from the system, which costs more than to fill it."""
        count, known = len(self.ids), dict[int, _Piece]()

        def piece(column: Column) -> _Piece:
            """Of columns that stand in a receipt more than once, the same."""
            found = known.get(id(column))
            if found is None:
                found = known[id(column)] = _piece(column)
            return found

        units = piece(self.units)
        made: dict[str, list[_Piece]] = {
            "id": [piece(self.ids)],
            "unit": [units],
            "key": [units],
            "at_ms": [piece(self.at_ms)],
            "inputs": [_head(0x90, 0xDC, len(self.inputs)), *map(piece, self.inputs)],
            "request": [_head(0x80, 0xDE, len(self.request))],
            "score": [piece(self.scores)],
        }
        for name, column in self.request.items():
            made["request"] += [_ENCODER.encode(name), piece(column)]
        pieces: list[_Piece] = [_head(0x80, 0xDE, len(Receipt.__struct_fields__))]
        for field in Receipt.__struct_fields__:
            pieces += [_ENCODER.encode(field), *(made.get(field) or [_ENCODER.encode(self.same[field])])]
        return _joined(pieces, count)


class _Fixed(NamedTuple):
    """A column whose encoded values have one width: ``head`` says what comes (a bool is nothing more), then a value, of the
    type ``stored``."""

    head: bytes
    values: NDArray[Any]
    stored: np.dtype[Any]


_Piece = bytes | _Fixed | list[bytes]
"""What stands at one place of every receipt: the same bytes, bytes of one width, or any bytes."""


def _piece(column: Column) -> _Piece:
    if not isinstance(column, np.ndarray):
        return _texts(column)
    if column.dtype == bool:
        return _Fixed(b"", column.astype(np.uint8) + np.uint8(_FALSE), np.dtype(np.uint8))
    head, stored = _HEADS.get(column.dtype) or _HEADS[column.dtype.newbyteorder("=")]
    return _Fixed(head, column, stored)


def _texts(values: Sequence[Value]) -> _Piece:
    """Texts of one length, as ids are, lie side by side; anything else is encoded by itself."""
    if isinstance(values, Numbered):
        return _side_by_side(values.octets())
    if set(map(type, values)) != {str}:
        return [_ENCODER.encode(value) for value in values]
    joined, width = "".join(cast("Sequence[str]", values)), len(str(values[0]))
    one = 0 < width < 1 << 8 and joined.isascii() and set(map(len, cast("Sequence[str]", values))) == {width}
    if not one:
        return [_ENCODER.encode(value) for value in values]
    return _side_by_side(np.frombuffer(joined.encode(), f"S{width}"))


def _side_by_side(texts: NDArray[np.bytes_]) -> _Fixed:
    width = texts.dtype.itemsize
    return _Fixed(bytes([0xA0 | width]) if width < 32 else bytes([0xD9, width]), texts, texts.dtype)


def _head(short: int, long: int, count: int) -> bytes:
    """The first bytes of a list or map: msgpack's fix, 16 and 32 bit forms."""
    if count < 16:
        return bytes([short | count])
    return bytes([long]) + count.to_bytes(2, "big") if count < 1 << 16 else bytes([long + 1]) + count.to_bytes(4, "big")


def _joined(pieces: Sequence[_Piece], count: int) -> bytes | memoryview:
    """All rows one after the other, each with its pieces in order."""
    columns: list[list[bytes]] = []
    fixed: list[bytes | _Fixed] = []
    for piece in pieces:
        if isinstance(piece, list):
            columns += [_rows(fixed, count), piece]
            fixed = []
        else:
            fixed.append(piece)
    if not columns:
        return _block(fixed, count)[0].data
    columns.append(_rows(fixed, count))
    return b"".join([part for row in zip(*columns, strict=True) for part in row])


def _rows(fixed: Sequence[bytes | _Fixed], count: int) -> list[bytes]:
    block, width = _block(fixed, count)
    whole = block.tobytes()
    return [whole[start : start + width] for start in range(0, count * width, width)] if width else [b""] * count


def _block(fixed: Sequence[bytes | _Fixed], count: int) -> tuple[NDArray[np.uint8], int]:
    """Pieces of fixed width, side by side, row after row, and a row's width: one row with zeros for values is repeated, then
    the values are laid over it, those of columns that stand at one distance from each other together."""
    row, placed = bytearray(), list[tuple[int, _Fixed]]()
    for each in fixed:
        if isinstance(each, bytes):
            row += each
            continue
        row += each.head
        placed.append((len(row), each))
        row += bytes(each.stored.itemsize)
    width = len(row)
    block = _room(count * width)
    if count and width:
        block.reshape(count, width)[:] = np.frombuffer(row, np.uint8)
        for place, distance, columns in _runs(placed):
            laid = np.ndarray((count, len(columns)), columns[0].stored, block.data, place, (width, distance))
            laid[:] = np.array([each.values for each in columns]).T if len(columns) > 1 else columns[0].values[:, None]
    return block, width


def _runs(placed: Sequence[tuple[int, _Fixed]]) -> Iterator[tuple[int, int, list[_Fixed]]]:
    """Columns of one type at one distance from each other: where the first stands, the distance, the columns."""
    at = 0
    while at < len(placed):
        (place, first), end, distance = placed[at], at + 1, 0
        while end < len(placed):
            following, each = placed[end]
            apart = following - placed[end - 1][0]
            if each.stored != first.stored or each.values.dtype != first.values.dtype or (distance and apart != distance):
                break
            distance, end = apart, end + 1
        yield place, distance or 1, [each for _, each in placed[at:end]]
        at = end


def _room(size: int) -> NDArray[np.uint8]:
    """Memory of this thread's, used again and again unless it is much."""
    if size > _KEPT:
        return np.empty(size, np.uint8)
    kept: NDArray[np.uint8] | None = getattr(_MEMORY, "room", None)
    if kept is None or len(kept) < size:
        kept = _MEMORY.room = np.empty(min(_KEPT, size * 2), np.uint8)
    return kept[:size]
