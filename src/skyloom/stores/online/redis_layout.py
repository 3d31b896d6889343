"""Where what lies in Redis.

Tiles of an entity lie together, in one hash with a field for each group: ``{skyloom:p017}:e:sUA``. Every other space is a
hash of its own, ``{skyloom:meta}:s:positions``. Beside both there is a sorted set of a space's keys,
``{skyloom:meta}:o:positions``, unless the space is of the kind that grows with every event and is read by key alone. An
entity that was forgotten to save space stays in the order; a scan passes over it. The number after ``p`` is the entity's
logical partition: the part in braces is what Redis Cluster would keep together.
"""

import re
from typing import NamedTuple
from zlib import crc32

from skyloom.kernel.errors import DeclarationError, UsageError

PARTITIONS = 256
BY_ENTITY = "tiles/"
"""Spaces of this prefix share one hash an entity."""

WITHOUT_ORDER = ("seen/",)
"""Spaces of these prefixes have no sorted set of keys: a scan reads the whole space first."""


class Place(NamedTuple):
    """A field of a hash."""

    key: bytes
    field: bytes


class Layout:
    """The keys of one store, all of which begin with its ``prefix``.

    >>> Layout("skyloom").place("tiles/carrier@1", b"sUA").key, Layout("skyloom").place("positions", b"p")
    (b'{skyloom:p012}:e:sUA', Place(key=b'{skyloom:meta}:s:positions', field=b'p'))
    """

    def __init__(self, prefix: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", prefix):
            raise DeclarationError(
                f"{prefix!r} cannot be the prefix of keys in Redis", fix="use 1 to 60 letters, digits, '_', '-' and '.'"
            )
        self._prefix = prefix.encode()
        self.turn = b"{%s:meta}:turn" % self._prefix
        self.commit = b"{%s:meta}:commit" % self._prefix

    def place(self, space: str, key: bytes) -> Place:
        """Where the value of ``key`` lies. Raises `UsageError` for a key that is empty or longer than 511 bytes."""
        if not 0 < len(key) <= 511:
            raise UsageError("a key has 1 to 511 bytes", tried=repr(key[:40]))
        if space.startswith(BY_ENTITY):
            return Place(b"{%s:p%03d}:e:%s" % (self._prefix, crc32(key) % PARTITIONS, key), space.encode())
        return Place(self.values(space), key)

    def values(self, space: str) -> bytes:
        """The hash of a space of its own."""
        return b"{%s:meta}:s:%s" % (self._prefix, space.encode())

    def order(self, space: str) -> bytes:
        """The sorted set of the keys of a space of its own."""
        return b"{%s:meta}:o:%s" % (self._prefix, space.encode())


def by_entity(space: str) -> bool:
    """Whether a space shares the hashes of entities."""
    return space.startswith(BY_ENTITY)


def ordered(space: str) -> bool:
    """Whether a space has a sorted set of its keys."""
    return not space.startswith(WITHOUT_ORDER)


def bounds(prefix: bytes, start: bytes) -> tuple[bytes, bytes]:
    """The range of keys with a prefix, from ``start`` on, as Redis writes it.

    >>> bounds(b"b", b""), bounds(b"", b""), bounds(b"a" + bytes([255]), b"z")
    ((b'[b', b'(c'), (b'-', b'+'), (b'[z', b'(b'))
    """
    low, open_end = max(prefix, start), prefix.rstrip(b"\xff")
    high = b"(" + open_end[:-1] + bytes([open_end[-1] + 1]) if open_end else b"+"
    return (b"[" + low if low else b"-"), high
