"""Receipts of many rows at once, written as MessagePack by column: the bytes that encoding each receipt would give readers.

A receipt is a map of named fields; those of one answer differ in few of them. What is the same for all is encoded once, what
has one width (numbers, ids) is laid out by numpy, and only texts and missing values are encoded one by one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyloom.ingest.rows import Value
from skyloom.kernel.ids import new_id
from skyloom.kernel.records.prediction import Receipt

Column = NDArray[Any] | Sequence[Value]
"""Values of one column: an array of float64, float32, int64 or bool (none is missing), or a sequence of anything."""

_HEADS = {np.dtype(np.float64): (0xCB, ">f8"), np.dtype(np.float32): (0xCA, ">f4"), np.dtype(np.int64): (0xD3, ">i8")}
_FALSE = 0xC2
_ID_TAIL, _LETTERS = 5, np.frombuffer(b"0123456789abcdefghjkmnpqrstvwxyz", np.uint8)
_ENCODER = msgspec.msgpack.Encoder()


class Receipts(NamedTuple):
    """What receipts of one version are made of: ``same`` has the fields that all share (`Receipt` without those here),
    ``inputs`` and ``request`` the columns of the model and of the caller, in order."""

    same: Mapping[str, Any]
    ids: list[str]
    units: Sequence[str]
    at_ms: NDArray[np.int64]
    inputs: Sequence[Column]
    request: Mapping[str, Column]
    scores: NDArray[np.float64]

    def encode(self) -> bytes:
        """All receipts, as MessagePack of a list of `Receipt`."""
        count, units = len(self.ids), _piece(self.units)
        made: dict[str, list[_Piece]] = {
            "id": [_piece(self.ids)],
            "unit": [units],
            "key": [units],
            "at_ms": [_piece(self.at_ms)],
            "inputs": [_head(0x90, 0xDC, len(self.inputs)), *(_piece(each) for each in self.inputs)],
            "request": [_head(0x80, 0xDE, len(self.request))],
            "score": [_piece(self.scores)],
        }
        for name, column in self.request.items():
            made["request"] += [_ENCODER.encode(name), _piece(column)]
        pieces: list[_Piece] = [_head(0x80, 0xDE, len(Receipt.__struct_fields__))]
        for field in Receipt.__struct_fields__:
            pieces += [_ENCODER.encode(field), *(made.get(field) or [_ENCODER.encode(self.same[field])])]
        return _head(0x90, 0xDC, count) + _joined(pieces, count)


def ids_of(prefix: str, count: int) -> list[str]:
    """Ids of the form of `new_id` that share all but their last five characters, which count the rows (up to 2^25).

    >>> first, second = ids_of("p", 2)
    >>> (len(first), first[:-5] == second[:-5], first[-5:], second[-5:])
    (28, True, '00000', '00001')
    """
    shared = new_id(prefix)[:-_ID_TAIL]
    shifts = np.arange(5 * (_ID_TAIL - 1), -1, -5)
    tails = _LETTERS[(np.arange(count)[:, None] >> shifts) & 31].tobytes().decode()
    return [shared + tails[at : at + _ID_TAIL] for at in range(0, count * _ID_TAIL, _ID_TAIL)]


class _Fixed(NamedTuple):
    """A column whose encoded values have one width: ``head`` says what comes (a bool is nothing more), then a value."""

    head: bytes
    values: NDArray[Any]


_Piece = bytes | _Fixed | list[bytes]
"""What stands at one place of every receipt: the same bytes, bytes of one width, or any bytes."""


def _piece(column: Column) -> _Piece:
    if not isinstance(column, np.ndarray):
        return _texts(column)
    if column.dtype == bool:
        return _Fixed(b"", column.astype(np.uint8) + np.uint8(_FALSE))
    head, dtype = _HEADS[column.dtype.newbyteorder("=")]
    return _Fixed(bytes([head]), column.astype(dtype))


def _texts(values: Sequence[Value]) -> _Piece:
    """Texts of one length, as ids are, lie side by side; anything else is encoded by itself."""
    lengths = {len(value) if isinstance(value, str) else 0 for value in values}
    width = lengths.pop() if len(lengths) == 1 else 0
    joined = "".join(map(str, values)) if 0 < width < 1 << 8 else ""
    if not joined.isascii() or not joined:
        return [_ENCODER.encode(value) for value in values]
    head = bytes([0xA0 | width]) if width < 32 else bytes([0xD9, width])
    return _Fixed(head, np.frombuffer(joined.encode(), f"S{width}"))


def _head(short: int, long: int, count: int) -> bytes:
    """The first bytes of a list or map: msgpack's fix, 16 and 32 bit forms."""
    if count < 16:
        return bytes([short | count])
    return bytes([long]) + count.to_bytes(2, "big") if count < 1 << 16 else bytes([long + 1]) + count.to_bytes(4, "big")


def _joined(pieces: Sequence[_Piece], count: int) -> bytes:
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
        return _block(fixed, count)[0]
    columns.append(_rows(fixed, count))
    return b"".join([part for row in zip(*columns, strict=True) for part in row])


def _rows(fixed: Sequence[bytes | _Fixed], count: int) -> list[bytes]:
    whole, width = _block(fixed, count)
    return [whole[start : start + width] for start in range(0, count * width, width)] if width else [b""] * count


def _block(fixed: Sequence[bytes | _Fixed], count: int) -> tuple[bytes, int]:
    """Pieces of fixed width, side by side, row after row, and a row's width: one row with zeros for values is repeated, then
    the values are laid over it."""
    row = b"".join([each if isinstance(each, bytes) else each.head + bytes(each.values.itemsize) for each in fixed])
    width, at = len(row), 0
    block = bytearray(row * count)
    for each in fixed:
        if isinstance(each, bytes):
            at += len(each)
            continue
        place = at + len(each.head)
        if count:
            np.ndarray(count, each.values.dtype, block, place, (width,))[:] = each.values
        at = place + each.values.itemsize
    return bytes(block), width
