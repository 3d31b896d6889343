"""How many different values, and which values lie where: states that do not depend on the order of events or of merging.

**Distinct.** Up to a declared cap the set of the values' 64-bit hashes, sorted; above it 4,096 registers, each the greatest
rank among the hashes of its bucket. The first word is the number of hashes, or -1 before registers (eight to a word, the
first in the lowest byte). Both follow from the set of hashes alone. One estimator for the registers: O. Ertl, "New
cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284, algorithm 6; its standard error is
1.04 / sqrt(4096) = 1.6%.

**Quantiles.** Numbers of values by bucket, in the manner of DDSketch (Masson, Rim and Lee, VLDB 2019), never collapsed:
pairs (bucket, count), sorted by bucket. Buckets are made by `skyloom.features.algebra.codes.buckets`: each power of two is
cut into M equal ones, DDSketch's linearly interpolated mapping, since libraries do not agree on the last bit of a
logarithm. A value told for a bucket [a, b) is 2ab / (a + b), no more than 1 / (2M + 1) of any value in it away.
"""

import math
from typing import Any

import numpy as np

from skyloom.features.algebra.compiled import jit
from skyloom.features.algebra.wide import HEAD, NO_ROOM, room_for

INDEX_BITS = 12
REGISTERS = 2**INDEX_BITS
_WORDS = REGISTERS // 8
_RANKS = 64 - INDEX_BITS
_ALPHA = 0.7213475204444817
"""1 / (2 ln 2)."""

FIRST_BUCKET = 2**40
"""Added to the number of a positive value's bucket, and taken from that of a negative one's: 0 is the bucket of zero."""


@jit
def put_hash(heap: Any, used: Any, handle: int, cap: int, value: int) -> int:
    """Put a hash into a set; the handle, or NO_ROOM."""
    if handle >= 0 and heap[handle + HEAD] < 0:
        _raise_register(heap, handle + HEAD + 1, value)
        return handle
    count = 0 if handle < 0 else heap[handle + HEAD]
    at = _search(heap, handle + HEAD + 1, count, 1, value)
    if at < count and heap[handle + HEAD + 1 + at] == value:
        return handle
    if count == cap:
        return _registered(heap, used, handle, value)
    handle = room_for(heap, used, handle, count + 2)
    if handle < 0:
        return handle
    base = handle + HEAD + 1
    for i in range(count, at, -1):
        heap[base + i] = heap[base + i - 1]
    heap[base + at] = value
    heap[base - 1], heap[handle + 1] = count + 1, count + 2
    return handle


@jit
def merge_sets(heap: Any, used: Any, handle: int, cap: int, other: int) -> int:
    """Put all of another set into a set."""
    begin = other + HEAD + 1
    if heap[begin - 1] >= 0:
        for at in range(begin, begin + heap[begin - 1]):
            handle = put_hash(heap, used, handle, cap, heap[at])
            if handle == NO_ROOM:
                return handle
        return handle
    if handle < 0 or heap[handle + HEAD] >= 0:
        hashes = handle
        handle = room_for(heap, used, -1, 1 + _WORDS)
        if handle < 0:
            return handle
        heap[handle + 1] = 1 + _WORDS
        heap[handle + HEAD : handle + HEAD + 1 + _WORDS] = heap[begin - 1 : begin + _WORDS]
        if hashes >= 0:
            for at in range(hashes + HEAD + 1, hashes + HEAD + 1 + heap[hashes + HEAD]):
                _raise_register(heap, handle + HEAD + 1, heap[at])
        return handle
    base = handle + HEAD + 1
    for i in range(_WORDS):
        mine, theirs, word = heap[base + i], heap[begin + i], 0
        if mine == theirs:
            continue
        for shift in range(0, 64, 8):
            word |= max((mine >> shift) & 255, (theirs >> shift) & 255) << shift
        heap[base + i] = word
    return handle


@jit
def _registered(heap: Any, used: Any, handle: int, value: int) -> int:
    """A full set and one more hash, as registers."""
    count = heap[handle + HEAD]
    made = room_for(heap, used, -1, 1 + _WORDS)
    if made < 0:
        return made
    base = made + HEAD + 1
    heap[made + 1], heap[base - 1] = 1 + _WORDS, -1
    heap[base : base + _WORDS] = 0
    for at in range(handle + HEAD + 1, handle + HEAD + 1 + count):
        _raise_register(heap, base, heap[at])
    _raise_register(heap, base, value)
    return made


@jit
def _raise_register(heap: Any, base: int, value: int) -> None:
    """The upper 12 bits of a hash choose a register; its rank is the place of the highest bit set among the others."""
    index, rest = (value >> _RANKS) & (REGISTERS - 1), value & (2**_RANKS - 1)
    rank = _RANKS + 1
    while rest:
        rank -= 1
        rest >>= 1
    word, shift = base + index // 8, 8 * (index % 8)
    held = (heap[word] >> shift) & 255
    if rank > held:
        heap[word] ^= (held ^ rank) << shift


@jit
def cardinality(heap: Any, handle: int) -> float:
    """How many different values a set holds: exactly up to the cap, above it the nearest whole number to the estimate."""
    if handle < 0:
        return 0.0
    if heap[handle + HEAD] >= 0:
        return float(heap[handle + HEAD])
    held = np.zeros(_RANKS + 2, np.int64)
    for i in range(REGISTERS):
        held[(heap[handle + HEAD + 1 + i // 8] >> (8 * (i % 8))) & 255] += 1
    z = REGISTERS * _tau(1.0 - held[_RANKS + 1] / REGISTERS)
    for rank in range(_RANKS, 0, -1):
        z = 0.5 * (z + held[rank])
    z += REGISTERS * _sigma(held[0] / REGISTERS)
    return np.rint(_ALPHA * REGISTERS * REGISTERS / z)


@jit
def _sigma(x: float) -> float:
    if x == 1.0:
        return np.inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


@jit
def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z, before = 1.0, 1.0 - x, -1.0
    while z != before:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1.0 - x) * (1.0 - x) * y
    return z / 3.0


@jit
def put_bucket(heap: Any, used: Any, handle: int, bucket: int, count: int) -> int:
    """Count values into a bucket; the handle, or NO_ROOM."""
    held = 0 if handle < 0 else heap[handle + 1] // 2
    at = _search(heap, handle + HEAD, held, 2, bucket)
    if at < held and heap[handle + HEAD + 2 * at] == bucket:
        heap[handle + HEAD + 2 * at + 1] += count
        return handle
    handle = room_for(heap, used, handle, 2 * held + 2)
    if handle < 0:
        return handle
    base = handle + HEAD
    for i in range(2 * held + 1, 2 * at + 1, -1):
        heap[base + i] = heap[base + i - 2]
    heap[base + 2 * at], heap[base + 2 * at + 1] = bucket, count
    heap[handle + 1] = 2 * held + 2
    return handle


@jit
def merge_buckets(heap: Any, used: Any, handle: int, other: int) -> int:
    """Count all of another state's values."""
    for at in range(other + HEAD, other + HEAD + heap[other + 1], 2):
        handle = put_bucket(heap, used, handle, heap[at], heap[at + 1])
        if handle == NO_ROOM:
            return handle
    return handle


@jit
def value_at(heap: Any, handle: int, q: float, parts: int) -> float:
    """The lower quantile: the value of the bucket that holds the value of rank ``floor(q (n - 1))``, counted from 0."""
    begin, end = handle + HEAD, handle + HEAD + heap[handle + 1]
    count = 0
    for at in range(begin, end, 2):
        count += heap[at + 1]
    rank, at, before = math.floor(q * (count - 1)), begin, heap[begin + 1]
    while before <= rank:
        at += 2
        before += heap[at + 1]
    return _value_of(heap[at], parts)


@jit
def _value_of(bucket: int, parts: int) -> float:
    """2ab / (a + b) of a bucket [a, b)."""
    if bucket == 0:
        return 0.0
    number = abs(bucket) - FIRST_BUCKET
    exponent, part = number // parts, number % parts
    value = math.ldexp(2.0 * (parts + part) * (parts + part + 1) / (parts * (2.0 * (parts + part) + 1.0)), int(exponent))
    return value if bucket > 0 else -value


@jit
def _search(heap: Any, base: int, count: int, step: int, value: int) -> int:
    """The first of ``count`` sorted places, ``step`` words each, that holds no less than ``value``."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if heap[base + step * middle] < value:
            low = middle + 1
        else:
            high = middle
    return low
