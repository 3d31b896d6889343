"""Names that nobody else has: digests of content and ids that sort by time."""

import hashlib
import os
import time
from typing import Any

import msgspec

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def digest(content: bytes) -> str:
    """The SHA-256 of ``content``, in 64 hexadecimal digits.

    >>> digest(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def canonical_json(value: Any) -> bytes:
    """One byte string per value: keys sorted, no spaces, floats as their shortest text.

    >>> canonical_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    return msgspec.json.encode(value, order="sorted")


def content_id(value: Any) -> str:
    """The digest of a value's canonical JSON."""
    return digest(canonical_json(value))


def new_id(prefix: str) -> str:
    """``prefix_`` and 26 characters: 48 bits of milliseconds, then 80 random bits (the layout of a ULID).

    Ids made later on one machine sort later (to the millisecond).
    """
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    characters = [_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(characters)}"


def nearest(name: str, known: list[str], most: int = 3) -> list[str]:
    """The names in ``known`` that look most like ``name``, best first.

    >>> nearest("carier", ["dest", "carrier", "origin"])
    ['carrier']
    """
    import difflib

    return difflib.get_close_matches(name, known, n=most, cutoff=0.5)
