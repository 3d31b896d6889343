"""Sums of squares and variances in whole numbers: exact, and rounded once.

A sum of squares is kept in two int64, ``high * 2^62 + low`` with ``0 <= low < 2^62``. A variance is a fraction of whole
numbers of up to 360 bits, held in limbs of 30 bits (the product of two, and what is carried, fits into an int64).
"""

import math
from typing import Any

import numpy as np

from skyloom.features.algebra.compiled import jit

LIMIT = 2**62
"""No sum reaches this: it is an error before."""

BEYOND = -(2**63)
"""What a sum is that reached it, and a value that no sum can hold: it stays so, and is an error to who reads it."""

_LOW = 2**62 - 1
_HALF = 2**31 - 1
_LIMB = 30
_MASK = 2**30 - 1
_LIMBS = 16
"""Limbs of a number: 480 bits. n Q has at most 186, n (n - 1) 10^2p at most 250 for p up to 18; they are aligned and
doubled."""

_BITS = 54
"""Bits of a quotient: those of a binary64, and one more to round by."""


@jit
def add_square(total: Any, at: int, x: int) -> None:
    """Add x^2, ``|x| <= 2^61``, to the sum of squares in ``total[at]`` (low) and ``total[at + 1]`` (high)."""
    x = abs(x)
    a, b = x >> 31, x & _HALF
    middle = 2 * a * b
    low = ((middle & _HALF) << 31) + b * b
    add_limbs(total, at, low & _LOW, a * a + (middle >> 31) + (low >> 62))


@jit
def add_bounded(total: int, x: int) -> int:
    """``total + x``, |x| < 2^62, or BEYOND."""
    if -LIMIT < total < LIMIT and -LIMIT < x < LIMIT:
        total += x
        if -LIMIT < total < LIMIT:
            return total
    return BEYOND


@jit
def add_square_bounded(total: Any, at: int, x: int) -> None:
    """`add_square`; a sum that reached LIMIT, or met a value BEYOND, is ``(0, LIMIT)`` for good."""
    if x != BEYOND and total[at + 1] < LIMIT:
        add_square(total, at, x)
    if x == BEYOND or total[at + 1] >= LIMIT:
        total[at], total[at + 1] = 0, LIMIT


@jit
def add_limbs(total: Any, at: int, low: int, high: int) -> None:
    """Add ``high * 2^62 + low`` to a sum of squares; it is too large from ``high >= LIMIT`` on."""
    low += total[at]
    total[at] = low & _LOW
    total[at + 1] += high + (low >> 62)


@jit
def variance(n: int, total: int, low: int, high: int, digits: int) -> float:
    """The sample variance ``(n Q - S^2) / (n (n - 1) 10^(2 digits))`` of ``n >= 2`` scaled values with sum S = ``total`` and
    sum of squares Q: the float64 that is nearest to the exact value, ties to even."""
    number, root = _times(_limbs(n, 0), _limbs(low, high)), _limbs(abs(total), 0)
    _subtract(number, _times(root, root))
    divisor = _times(_limbs(n, 0), _limbs(n - 1, 0))
    for _ in range(digits):
        _scale(divisor, 100)
    return _quotient(number, divisor)


@jit
def _limbs(low: int, high: int) -> Any:
    """``high * 2^62 + low``, both from 0 on and below 2^62, as limbs, the lowest first."""
    limbs = np.zeros(_LIMBS, np.int64)
    limbs[0] = low & _MASK
    limbs[1] = (low >> 30) & _MASK
    limbs[2] = (low >> 60) | ((high << 2) & _MASK)
    limbs[3] = (high >> 28) & _MASK
    limbs[4] = high >> 58
    return limbs


@jit
def _times(a: Any, b: Any) -> Any:
    product = np.zeros(_LIMBS, np.int64)
    for i in range(_LIMBS):
        if a[i] == 0:
            continue
        carry = 0
        for j in range(_LIMBS - i):
            reached = product[i + j] + a[i] * b[j] + carry
            product[i + j] = reached & _MASK
            carry = reached >> _LIMB
    return product


@jit
def _scale(limbs: Any, factor: int) -> None:
    carry = 0
    for i in range(_LIMBS):
        reached = limbs[i] * factor + carry
        limbs[i] = reached & _MASK
        carry = reached >> _LIMB


@jit
def _subtract(a: Any, b: Any) -> None:
    """``a -= b``, which is not greater."""
    borrow = 0
    for i in range(_LIMBS):
        left = a[i] - b[i] - borrow
        a[i] = left & _MASK
        borrow = 1 if left < 0 else 0


@jit
def _is_less(a: Any, b: Any) -> bool:
    for i in range(_LIMBS - 1, -1, -1):
        if a[i] != b[i]:
            return a[i] < b[i]
    return False


@jit
def _length(limbs: Any) -> int:
    """How many bits a number has."""
    for i in range(_LIMBS - 1, -1, -1):
        if limbs[i]:
            bits, rest = _LIMB * i, limbs[i]
            while rest:
                bits += 1
                rest >>= 1
            return bits
    return 0


@jit
def _shift(limbs: Any, bits: int) -> None:
    """Multiply by ``2^bits``."""
    whole, rest = bits // _LIMB, bits % _LIMB
    for i in range(_LIMBS - 1, -1, -1):
        source = i - whole
        reached = limbs[source] << rest if source >= 0 else 0
        if source >= 1:
            reached |= limbs[source - 1] >> (_LIMB - rest)
        limbs[i] = reached & _MASK


@jit
def _quotient(number: Any, divisor: Any) -> float:
    """``number / divisor`` to the nearest float64, ties to even: long division to 54 bits, and whether anything is left."""
    if _length(number) == 0:
        return 0.0
    exponent = _length(number) - _length(divisor)
    if exponent > 0:
        _shift(divisor, exponent)
    else:
        _shift(number, -exponent)
    if _is_less(number, divisor):
        exponent -= 1
        _shift(number, 1)
    bits = 0
    for _ in range(_BITS):
        bits <<= 1
        if not _is_less(number, divisor):
            _subtract(number, divisor)
            bits |= 1
        _shift(number, 1)
    half, kept = bits & 1, bits >> 1
    if half and (_length(number) > 0 or kept & 1):
        kept += 1
    return math.ldexp(float(kept), int(exponent) - _BITS + 2)
