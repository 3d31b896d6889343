"""The sticky hash: the same unit meets the same arm for as long as a rollout lasts, and a ramp only ever adds units."""

from collections.abc import Sequence
from hashlib import blake2b

BUCKETS = 10_000


def bucket_of(salt: str, unit: str) -> int:
    """The bucket of a unit, 0 to 9,999: blake2b of salt and unit, modulo 10,000.

    >>> bucket_of("r1", "UA1545") == bucket_of("r1", "UA1545")
    True
    """
    return int.from_bytes(blake2b(f"{salt}\0{unit}".encode(), digest_size=8).digest(), "big") % BUCKETS


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
