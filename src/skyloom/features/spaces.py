"""Where the state of features lies in an online store: the names of spaces and the form of their keys.

A *place* is a partition of a source (`skyloom.ingest.partitions`): the source's name where it has one.
"""

import struct

from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.ports.online import OnlineReader, OnlineWriter

POSITIONS = "positions"


def tiles_space(group: FeatureGroupDef) -> str:
    """The space of a group's tiles: a changed definition has another space, so the old one serves on while it is built."""
    return f"tiles/{group.name}@{content_id(group)[:16]}"


def seen_space(place: str, generation: int = 0) -> str:
    """Keys of events that came in, each with the offset and the effective time of its first copy."""
    return f"seen/{place}/{generation}" if generation else f"seen/{place}"


def verdicts_space(place: str) -> str:
    """What the rows of each slice were found to be, until they are in the lake: end offset -> first offset, verdicts."""
    return f"verdicts/{place}"


def memory_position(place: str) -> bytes:
    """The key of what a partition of a source remembers: its watermark and the generations of its keys."""
    return f"memory/{place}".encode()


def build_position(group: FeatureGroupDef, partition: int = 0) -> bytes:
    """The key of how far the building of a group has come, by partition of its source."""
    return f"build/{tiles_space(group)}{_suffix(partition)}".encode()


def progress_space(place: str) -> str:
    """The progress log of a partition of a source: offset -> the moment (ms) from which everything below it was folded."""
    return f"progress/{place}"


def source_position(place: str) -> bytes:
    """The key of the offset up to which a partition of a source is folded."""
    return f"source/{place}".encode()


def group_position(group: FeatureGroupDef, partition: int = 0) -> bytes:
    """The key of the offset up to which a group stands, by partition of its source; missing while it is to be built."""
    return f"group/{tiles_space(group)}{_suffix(partition)}".encode()


def partitions_position(source: str) -> bytes:
    """The key of how many partitions a source has; missing before anything of it was folded."""
    return f"partitions/{source}".encode()


def partitions_of(view: OnlineReader | OnlineWriter, source: str) -> int:
    """How many partitions a source has."""
    return position(view, partitions_position(source)) or 1


def pack(number: int) -> bytes:
    """A number as eight bytes that sort as numbers do (not negative)."""
    return struct.pack(">Q", number)


def unpack(stored: bytes) -> int:
    """The number that `pack` stored."""
    return struct.unpack(">Q", stored)[0]


def position(view: OnlineReader | OnlineWriter, key: bytes) -> int | None:
    """A stored position, or ``None``."""
    stored = view.get(POSITIONS, key)
    return None if stored is None else unpack(stored)


def _suffix(partition: int) -> str:
    return f"/{partition}" if partition else ""
