"""The partitions of a source: each is a log of its own, and together they are the source's events.

Within a source an event has one number, its *offset in the source*: ``offset in the log * partitions + partition``. It is
its own within the source, rises within a partition, tells the partition, and is the log's own offset where there is one
partition. Positions are counted in it too: an event is before a position of its partition when its offset is smaller.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from skyloom.kernel.records.definitions import SourceDef


class SourcePart(NamedTuple):
    """Partition number ``partition`` of the ``partitions`` that a source has.

    >>> from skyloom.kernel.schema import Schema
    >>> third = SourcePart(SourceDef("cards", Schema((), "id", "at")), 2, 4)
    >>> third.place, third.position(10), third.in_log(40)
    ('cards/2', 40, 10)
    >>> third.holds(np.array([0, 2, 6, 7])).tolist()
    [False, True, True, False]
    """

    source: SourceDef
    partition: int = 0
    partitions: int = 1

    @property
    def place(self) -> str:
        """Its name in positions, in receipts and in the online store."""
        return place_of(self.source.name, self.partition, self.partitions)

    def position(self, log_offset: int) -> int:
        """The position in the source for an offset of the log."""
        return log_offset * self.partitions

    def in_log(self, position: int) -> int:
        """The offset of the log that a position stands for."""
        return position // self.partitions

    def holds(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which offsets in the source, shape [n], are of this partition."""
        return offsets % self.partitions == self.partition


def parts_of(source: SourceDef, partitions: int) -> list[SourcePart]:
    """Every partition of a source."""
    return [SourcePart(source, partition, partitions) for partition in range(partitions)]


def place_of(source: str, partition: int, partitions: int) -> str:
    """The name of a partition: the source's own where there is one.

    >>> place_of("cards", 0, 1), place_of("cards", 3, 4)
    ('cards', 'cards/3')
    """
    return source if partitions == 1 else f"{source}/{partition}"


def source_of(place: str) -> str:
    """The source of a key of ``as_of``, which may name a partition of it or a lookup in it.

    >>> source_of("cards"), source_of("cards/3"), source_of("cards/3@issuer")
    ('cards', 'cards', 'cards')
    """
    return place.partition("@")[0].partition("/")[0]


def number_of(place: str) -> int:
    """The number of the partition that a key of ``as_of`` names.

    >>> number_of("cards"), number_of("cards/3"), number_of("cards/3@issuer")
    (0, 3, 3)
    """
    return int(place.partition("@")[0].partition("/")[2] or 0)


def seen_of(as_of: Iterable[tuple[str, int]], source: str, lookup: str = "") -> dict[int, int]:
    """What a request saw of a source by partition, from the entries of its ``as_of``; of the lookup in it that is named."""
    return {
        number_of(place): position
        for place, position in as_of
        if source_of(place) == source and place.partition("@")[2] == lookup
    }
