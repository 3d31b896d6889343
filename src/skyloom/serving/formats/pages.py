"""The heads of a Parquet file's pages, read to know what they unpack to before anything is unpacked.

Source: parquet-format's ``parquet.thrift`` (PageHeader) and Thrift's compact protocol.
"""

from collections.abc import Iterator
from typing import NamedTuple

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_WHOLE = (4, 5, 6)
_DEEPEST = 8

Fields = dict[int, "int | Fields"]


class Page(NamedTuple):
    """One page: its bytes once unpacked, and how its values are written (parquet.thrift, Encoding)."""

    unpacked: int
    encodings: tuple[int, ...]


def pages_of(body: bytes, start: int, length: int) -> Iterator[Page]:
    """The pages of a column chunk. Raises `ValueError` for heads that make no sense, `IndexError` where they break off."""
    position, end = start, start + length
    if start < 0 or length < 0 or end > len(body):
        raise ValueError("a column lies outside of the file")
    while position < end:
        reader = _Compact(body, position)
        head = reader.struct()
        unpacked, packed = head.get(2), head.get(3)
        if not isinstance(unpacked, int) or not isinstance(packed, int) or unpacked < 0 or packed < 0:
            raise ValueError("a page without a size")
        yield Page(unpacked, tuple(_encodings(head)))
        position = reader.position + packed


def _encodings(head: Fields) -> Iterator[int]:
    """The encodings of a data page of the first version (field 5: 2) or the second one (field 8: 4)."""
    for field, place in ((5, 2), (8, 4)):
        data = head.get(field)
        encoding = data.get(place) if isinstance(data, dict) else None
        if isinstance(encoding, int):
            yield encoding


class _Compact:
    """Reads Thrift's compact protocol; keeps numbers and structs, passes over the rest."""

    def __init__(self, body: bytes, position: int) -> None:
        self._body, self.position = body, position

    def struct(self, depth: int = 0) -> Fields:
        if depth > _DEEPEST:
            raise ValueError("a page's head is nested too deep")
        fields: Fields = {}
        number = 0
        while head := self._byte():
            kind, delta = head & 15, head >> 4
            number = number + delta if delta else self._signed()
            value = self._value(kind, depth)
            if value is not None:
                fields[number] = value
        return fields

    def _value(self, kind: int, depth: int) -> "int | Fields | None":
        if kind in _WHOLE:
            return self._signed()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_TRUE, _FALSE):
            return None
        if kind == _BYTE:
            self.position += 1
        elif kind == _DOUBLE:
            self.position += 8
        elif kind == _BINARY:
            length = self._unsigned()
            self.position += length
        elif kind in (_LIST, _SET):
            self._pass_list(depth)
        else:
            raise ValueError(f"a page's head holds a value of the kind {kind}")
        return None

    def _pass_list(self, depth: int) -> None:
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._unsigned()
        kind = head & 15
        for _ in range(count):
            if kind in (_TRUE, _FALSE):
                self.position += 1
            else:
                self._value(kind, depth + 1)
            if self.position > len(self._body):
                raise IndexError("a page's head breaks off")

    def _byte(self) -> int:
        value = self._body[self.position]
        self.position += 1
        return value

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
