"""The sticky hash: the same unit meets the same arm for as long as a rollout lasts, and a ramp only ever adds units."""

import struct
from collections.abc import Sequence
from hashlib import blake2b

BUCKETS = 10_000
_WIDTH = 8


def bucket_of(salt: str, unit: str) -> int:
    """The bucket of a unit, 0 to 9,999: blake2b of salt and unit, modulo 10,000.

    >>> bucket_of("r1", "UA1545") == bucket_of("r1", "UA1545")
    True
    """
    return int.from_bytes(blake2b(f"{salt}\0{unit}".encode(), digest_size=_WIDTH).digest(), "big") % BUCKETS


def buckets_of(salt: str, units: Sequence[str]) -> list[int]:
    """The bucket of each unit.

    >>> buckets_of("r1", ["UA1545", "UA1714"]) == [bucket_of("r1", "UA1545"), bucket_of("r1", "UA1714")]
    True
    """
    salted = blake2b(f"{salt}\0".encode(), digest_size=_WIDTH)
    digests: list[bytes] = []
    for unit in units:
        begun = salted.copy()
        begun.update(unit.encode())
        digests.append(begun.digest())
    return [number % BUCKETS for number in struct.unpack(f">{len(digests)}Q", b"".join(digests))]


def arm_of(bucket: int, shares: Sequence[int]) -> int:
    """Which arm a bucket falls into: the index into ``shares`` (hundredths of a percent that add up to 10,000).

    Put the canary first: when its share grows the units it had stay with it.

    >>> arm_of(499, [500, 9500]), arm_of(500, [500, 9500])
    (0, 1)
    """
    edge = 0
    for index, share in enumerate(shares):
        edge += share
        if bucket < edge:
            return index
    raise ValueError(f"shares add up to {edge}, not to {BUCKETS}")
