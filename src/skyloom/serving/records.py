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
"""Values of one column: an array of float64, int64 or bool (none is missing), or a sequence of anything."""

_FLOAT, _INT, _FALSE = 0xCB, 0xD3, 0xC2
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
        count = len(self.ids)
        made: dict[str, list[_Piece]] = {
            "id": [_ragged(self.ids)],
            "unit": [_ragged(self.units)],
            "key": [_ragged(self.units)],
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
    """A column whose encoded values have one width: a first byte (of which a bool is all), and a number behind it."""

    head: bytes
    values: NDArray[Any]


_Piece = bytes | _Fixed | list[bytes]
"""What stands at one place of every receipt: the same bytes, a number of one width, or any bytes."""


def _piece(column: Column) -> _Piece:
    if not isinstance(column, np.ndarray):
        return _ragged(column)
    if column.dtype == bool:
        return _Fixed(b"", column.astype(np.uint8) + np.uint8(_FALSE))
    if column.dtype == np.float64:
        return _Fixed(bytes([_FLOAT]), column.astype(">f8"))
    return _Fixed(bytes([_INT]), column.astype(">i8"))


def _ragged(values: Sequence[Value]) -> list[bytes]:
    return [_ENCODER.encode(value) for value in values]


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
            columns += [_sliced(fixed, count), piece]
            fixed = []
        else:
            fixed.append(piece)
    columns.append(_sliced(fixed, count))
    return b"".join([part for row in zip(*columns, strict=True) for part in row])


def _sliced(fixed: Sequence[bytes | _Fixed], count: int) -> list[bytes]:
    """Pieces of fixed width, side by side, cut into rows: one row with zeros for numbers, repeated, then the numbers."""
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
    whole = bytes(block)
    return [whole[start : start + width] for start in range(0, count * width, width)] if width else [b""] * count
