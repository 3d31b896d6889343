"""Names that nobody else has: digests of content and ids that sort by time."""

import hashlib
import os
import time
from functools import lru_cache
from typing import Any

import msgspec

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LETTERS = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
_RANDOM, _DRAWN = 16, 64
_drawn: list[str] = []
"""Random halves of ids, so many drawn at a time: to ask the system for them costs more than the rest of an id."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)


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

    Ids made later on one machine sort later (to the millisecond). Safe for threads and in children of a fork.
    """
    try:
        random = _drawn.pop()
    except IndexError:
        letters = os.urandom(_RANDOM * _DRAWN).translate(_LETTERS).decode()
        _drawn.extend([letters[at : at + _RANDOM] for at in range(0, len(letters), _RANDOM)])
        random = _drawn.pop()
    return f"{prefix}_{_moment(time.time_ns() // 1_000_000)}{random}"


@lru_cache(maxsize=1)
def _moment(ms: int) -> str:
    return "".join([_ALPHABET[(ms >> shift) & 31] for shift in range(45, -1, -5)])


def nearest(name: str, known: list[str], most: int = 3) -> list[str]:
    """The names in ``known`` that look most like ``name``, best first.

    >>> nearest("carier", ["dest", "carrier", "origin"])
    ['carrier']
    """
    import difflib

    return difflib.get_close_matches(name, known, n=most, cutoff=0.5)
