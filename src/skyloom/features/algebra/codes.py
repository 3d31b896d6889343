"""Columns as the whole numbers that lists, sets and buckets are made of: the same on every machine and in every process."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skyloom.features.algebra.program import BUCKETS, HASHES, Code, Float64s, Int64s
from skyloom.features.algebra.sketches import FIRST_BUCKET

_REST = np.int64(0x7FFFFFFFFFFFFFFF)


def coded(column: pa.Array, code: Code) -> Int64s:
    """A column's codes, shape [n]; those of nulls mean nothing."""
    if code.kind == HASHES:
        return hashes(column)
    return buckets(_number_codes(column), code.size) if code.kind == BUCKETS else ordered(numbers(column))


def numbers(column: pa.Array) -> Float64s:
    """A column of numbers, truths or times (ms) as float64, shape [n], nulls as 0; of the two zeros only one."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return _filled(column.cast(pa.float64(), safe=False)) + 0.0


def _number_codes(column: pa.Array) -> Float64s:
    return np.nan_to_num(numbers(column), nan=0.0, posinf=np.inf, neginf=-np.inf)


def ordered(values: Float64s) -> Int64s:
    """Whole numbers in the order of the values: their bits, those below the sign bit flipped where it is set.

    >>> ordered(np.array([-2.0, -1.0, 0.0, 1.0])).argsort().tolist()
    [0, 1, 2, 3]
    """
    bits = values.view(np.int64)
    return np.where(bits < 0, bits ^ _REST, bits)


def buckets(values: Float64s, parts: int) -> Int64s:
    """The buckets of values: each power of two is cut into ``parts`` (below 2^10) equal ones; a positive value's number is
    ``FIRST_BUCKET + exponent * parts + part``, a negative one's that of its magnitude, negated; zero's is 0.
    An infinite one lies in the outermost.

    >>> (buckets(np.array([1.0, 1.5, 2.0, 0.5]), 50) - FIRST_BUCKET).tolist()
    [0, 25, 50, -50]
    """
    mantissa, exponent = np.frexp(np.minimum(np.abs(values), np.finfo(np.float64).max))
    part = (np.ldexp(2.0 * mantissa - 1.0, 52).astype(np.int64) * parts) >> 52
    number = FIRST_BUCKET + (exponent.astype(np.int64) - 1) * parts + part
    return np.where(values == 0.0, 0, np.where(values < 0.0, -number, number))


def hashes(column: pa.Array) -> Int64s:
    """64-bit hashes of a column's values. Texts: the first 8 bytes, little-endian, of their BLAKE2b digest (size 8), made
    once for each text there is. Whole numbers, truths and times: mixed bits (the finaliser of SplitMix64), so that no two
    collide; floats likewise, by their bits."""
    if pa.types.is_string(column.type):
        known = column.dictionary_encode()
        texts = known.dictionary.to_pylist()
        made = np.array([_text_hash(text) for text in texts], np.int64) if texts else np.zeros(1, np.int64)
        return made[_filled(known.indices)]
    if pa.types.is_floating(column.type):
        return _mixed(numbers(column).view(np.uint64))
    return _mixed(_filled(column.cast(pa.int64())).astype(np.int64).view(np.uint64))


def _text_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def _mixed(bits: npt.NDArray[np.uint64]) -> Int64s:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): one to one."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (bits ^ (bits >> np.uint64(31))).view(np.int64)


def _filled(column: pa.Array) -> Any:
    return column.fill_null(0).to_numpy(zero_copy_only=False)
