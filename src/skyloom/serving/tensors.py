"""Tensors of the Open Inference Protocol: numbers are numpy arrays, what cannot be one is a list.

Source: github.com/kserve/open-inference-protocol (datatypes, JSON) and Triton's binary tensor extension (raw bytes:
little-endian, row-major; a BYTES element is its length in 4 bytes and its content; a BOOL is a byte).
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyloom.ingest.rows import Value
from skyloom.serving.numbered import Numbered
from skyloom.serving.wire import Problem

INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
FLOATS = frozenset({"FP16", "FP32", "FP64", "BF16"})
DTYPES: dict[str, np.dtype[Any]] = {
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BF16": np.dtype("<f4"),  # its values, widened
    "BOOL": np.dtype(bool),
}
DATATYPES = frozenset({*DTYPES, "BYTES"})

Values = NDArray[Any] | list[Any] | Numbered
"""Flat, row-major: an array of the datatype's numbers, or a list of strings, or of numbers some of which are missing;
or ids."""

_JSON_TYPES: dict[str, Any] = {
    **dict.fromkeys(INTEGERS, list[int | None]),
    **dict.fromkeys(FLOATS, list[float | None]),
    "BOOL": list[bool | None],
    "BYTES": list[str | None],
}
_LENGTH = struct.Struct("<I")


class Tensor(NamedTuple):
    """Values with a name, a datatype and a shape (whose product is the number of values)."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values

    def column(self) -> list[Value]:
        """The values as Python's own; a float that is NaN is missing (``None``).

        >>> from_json("a", "FP32", (2,), [1, None]).column()
        [1.0, None]
        """
        if not isinstance(self.values, np.ndarray):
            return list(self.values)
        values: list[Any] = self.values.tolist()
        if self.datatype in FLOATS and math.isnan(sum(values)):
            return [None if math.isnan(value) else value for value in values]
        return values


class Matrix(NamedTuple):
    """Columns of floats beside each other: ``values`` [columns, rows], float32 or float64, contiguous; NaN is missing."""

    names: tuple[str, ...]
    datatype: str
    values: NDArray[Any]

    def tensors(self) -> dict[str, Tensor]:
        """A tensor for each column."""
        shape = self.values.shape[1:]
        return {
            name: Tensor(name, self.datatype, shape, values) for name, values in zip(self.names, self.values, strict=True)
        }


@dataclass(frozen=True)
class Columns:
    """Rows by their columns: a tensor of ``count`` values for each, but for those that lie in one ``matrix``. ``fresh``: the
    keys were made for this request, and nobody else has them."""

    count: int
    tensors: dict[str, Tensor]
    matrix: Matrix | None = None
    fresh: bool = False

    def by_name(self) -> dict[str, Tensor]:
        """A tensor for each column."""
        return self.tensors if self.matrix is None else {**self.tensors, **self.matrix.tensors()}

    def rows(self) -> list[dict[str, Value]]:
        """The same rows, each by itself.

        >>> Columns(1, {"a": from_json("a", "INT8", (1,), [3])}).rows()
        [{'a': 3}]
        """
        tensors = self.by_name()
        columns = [tensor.column() for tensor in tensors.values()]
        return [dict(zip(tensors, row, strict=True)) for row in zip(*columns, strict=True)]


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: list[Any]) -> Tensor:
    """A tensor whose ``data`` is flat or nested as its shape. Raises `Problem` with 400 that names it.

    >>> from_json("a", "INT8", (2, 1), [[1], [2]]).values
    array([1, 2], dtype=int8)
    >>> from_json("a", "INT8", (1,), [300])
    Traceback (most recent call last):
    ...
    skyloom.serving.wire.Problem: a: a value does not fit into INT8
    """
    check_shape(name, datatype, shape)
    flat = _flat(name, shape, data)
    try:
        values = _typed(datatype, flat)
    except msgspec.ValidationError as error:
        raise Problem(400, f"{name}: {_without_null(str(error))}") from error
    return Tensor(name, datatype, shape, values if datatype == "BYTES" else _numbers(name, datatype, values))


def from_raw(name: str, datatype: str, shape: tuple[int, ...], raw: bytes | memoryview) -> Tensor:
    """A tensor of raw bytes, which are not copied. Raises `Problem` with 400 that names it.

    >>> from_raw("a", "FP32", (1,), bytes([0, 0, 128, 63])).values
    array([1.], dtype=float32)
    """
    check_shape(name, datatype, shape)
    count = math.prod(shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _texts(name, count, raw))
    width = 2 if datatype == "BF16" else DTYPES[datatype].itemsize
    if len(raw) != count * width:
        raise Problem(400, f"{name}: {list(shape)} of {datatype} takes {count * width} bytes, there are {len(raw)}")
    if datatype == "BF16":
        return Tensor(name, datatype, shape, (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4"))
    if datatype == "BOOL":
        octets = np.frombuffer(raw, np.uint8)
        if count and int(octets.max()) > 1:
            raise Problem(400, f"{name}: a BOOL is a byte of 0 or 1")
        return Tensor(name, datatype, shape, octets.view(bool))
    return Tensor(name, datatype, shape, np.frombuffer(raw, DTYPES[datatype]))


def to_raw(values: Values) -> bytes:
    """The raw bytes of numbers, or of a list of strings.

    >>> to_raw(["ab"])
    b'\\x02\\x00\\x00\\x00ab'
    """
    if isinstance(values, np.ndarray):
        return values.tobytes()
    return b"".join([_LENGTH.pack(len(each)) + each for each in (str(value).encode() for value in values)])


def check_shape(name: str, datatype: str, shape: Sequence[int]) -> None:
    """Raise `Problem` with 400 for an unknown datatype or a negative dimension."""
    if datatype not in DATATYPES:
        raise Problem(400, f"{name}: there is no datatype {datatype}; there are {', '.join(sorted(DATATYPES))}")
    if any(size < 0 for size in shape):
        raise Problem(400, f"{name}: the shape is {list(shape)}: a dimension is negative")


def _flat(name: str, shape: tuple[int, ...], data: list[Any]) -> list[Any]:
    """Data that is flat, or nested exactly as the shape says."""
    count = math.prod(shape)
    rows = data
    if len(shape) > 1 and data and isinstance(data[0], list):
        for inner in shape[1:]:
            if any(not isinstance(row, list) or len(row) != inner for row in rows):
                raise Problem(400, f"{name}: the data is not nested as the shape {list(shape)} says")
            rows = list(chain.from_iterable(rows))
    if len(rows) != count:
        raise Problem(400, f"{name}: the shape says {count} values, there are {len(rows)}")
    return rows


def _typed(datatype: str, flat: list[Any]) -> list[Any]:
    try:
        return msgspec.convert(flat, _JSON_TYPES[datatype])
    except msgspec.ValidationError:
        return msgspec.convert([_from_float(datatype, each) for each in flat], _JSON_TYPES[datatype])


def _from_float(datatype: str, value: object) -> object:
    """What a client meant that writes every number as a float, truths among them."""
    if datatype == "BOOL" and isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    return int(value) if datatype in INTEGERS and isinstance(value, float) and value.is_integer() else value


def _numbers(name: str, datatype: str, values: list[Any]) -> Values:
    if None in values:
        if datatype not in FLOATS:
            return values if datatype == "BOOL" else _whole(name, datatype, values)
        values = [math.nan if value is None else value for value in values]
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, DTYPES[datatype])
    except OverflowError as error:
        raise Problem(400, f"{name}: a value does not fit into {datatype}") from error
    if datatype in FLOATS and bool(np.isinf(array).any()):
        raise Problem(400, f"{name}: a value does not fit into {datatype}")
    return array


def _whole(name: str, datatype: str, values: list[int | None]) -> list[int | None]:
    limits = np.iinfo(DTYPES[datatype])
    if any(value is not None and not limits.min <= value <= limits.max for value in values):
        raise Problem(400, f"{name}: a value does not fit into {datatype}")
    return values


def _texts(name: str, count: int, raw: bytes | memoryview) -> list[str]:
    texts: list[str] = []
    at, end = 0, len(raw)
    try:
        while at < end:
            (length,) = _LENGTH.unpack_from(raw, at)
            at += 4 + length
            if at > end:
                raise Problem(400, f"{name}: element {len(texts)} says it has {length} bytes, which are not there")
            texts.append(str(raw[at - length : at], "utf-8"))
    except (struct.error, UnicodeDecodeError) as error:
        raise Problem(400, f"{name}: element {len(texts)} is no text with its length before it: {error}") from error
    if len(texts) != count:
        raise Problem(400, f"{name}: the shape says {count} values, there are {len(texts)}")
    return texts


def _without_null(message: str) -> str:
    return message.replace(" | null`", "`")
