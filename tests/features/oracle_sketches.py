"""Distinct counts and quantiles, said once more from their papers, over all values at once and in exact arithmetic.

Ertl, arXiv:1702.01284, algorithms 4 to 6; Masson, Rim and Lee, VLDB 2019, with the interpolated mapping. Shares no code with
the kernel.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any

P, M64 = 12, 2**64 - 1


def hash_of(value: Any) -> int:
    """64 bits: of a text its BLAKE2b, of a number the mixed bits of its own (SplitMix64)."""
    if isinstance(value, str):
        return int.from_bytes(hashlib.blake2b(value.encode("utf-8"), digest_size=8).digest(), "little")
    if isinstance(value, float):
        value = 0.0 if value == 0.0 else value
        sign, rest = math.copysign(1.0, value) < 0, abs(value)
        mantissa, exponent = math.frexp(rest)
        if rest in (0.0, math.inf):
            bits = 0 if rest == 0.0 else 2047 << 52
        elif exponent > -1022:
            bits = (exponent + 1022) << 52 | int(mantissa * 2**53) - 2**52
        else:
            bits = int(math.ldexp(rest, 1074))
        z = bits | (sign << 63)
    else:
        z = int(value) & M64
    z = (z + 0x9E3779B97F4A7C15) & M64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


def registers(values: list[Any]) -> list[int]:
    """The 4,096 registers of a set of values: the first 12 bits choose one, which keeps the greatest place of a first 1."""
    return registers_of({hash_of(value) for value in values})


def registers_of(hashes: Iterable[int]) -> list[int]:
    """The same from their hashes."""
    kept = [0] * 2**P
    for each in hashes:
        text = f"{each:064b}"
        rest = text[P:]
        place = rest.index("1") + 1 if "1" in rest else len(rest) + 1
        kept[int(text[:P], 2)] = max(kept[int(text[:P], 2)], place)
    return kept


def distinct(values: list[Any], exact: int) -> float:
    """How many different values there are: exactly, or from more than ``exact`` on as the registers tell."""
    different = {hash_of(value) for value in values}
    return float(len(different)) if len(different) <= exact else _estimated(frozenset(different))


@lru_cache(maxsize=10_000)
def _estimated(hashes: frozenset[int]) -> float:
    return float(round(estimate(registers_of(hashes))))


def estimate(kept: list[int]) -> float:
    m, q = len(kept), 64 - P
    count = Counter(kept)
    z = m * _tau(1 - count[q + 1] / m)
    for k in reversed(range(1, q + 1)):
        z = (z + count[k]) / 2
    z += m * _sigma(count[0] / m)
    return m * m / (2 * math.log(2)) / z


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    total, term, k = x, x, 1
    while True:
        term *= term
        new = total + term * 2 ** (k - 1)
        if new == total:
            return total
        total, k = new, k + 1


def _tau(x: float) -> float:
    if x in (0, 1):
        return 0
    total, k = 1 - x, 1
    while True:
        x = x**0.5
        new = total - (1 - x) ** 2 / 2**k
        if new == total:
            return total / 3
        total, k = new, k + 1


def quantile(values: list[float], q: float, parts: int) -> float:
    """The value told for the one of rank ``floor(q (n - 1))``: 2ab / (a + b) of its bucket [a, b)."""
    return _told(sorted(values)[math.floor(q * (len(values) - 1))], parts)


@lru_cache(maxsize=100_000)
def _told(chosen: float, parts: int) -> float:
    if chosen == 0:
        return 0.0
    magnitude = abs(Fraction(chosen))
    power = Fraction(1)
    while power > magnitude:
        power /= 2
    while power * 2 <= magnitude:
        power *= 2
    part = math.floor((magnitude / power - 1) * parts)
    low, high = power * (1 + Fraction(part, parts)), power * (1 + Fraction(part + 1, parts))
    told = float(2 * low * high / (low + high))
    return told if chosen > 0 else -told
