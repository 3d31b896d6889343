"""How far a group stands, as a reader asks for it: the positions of every partition of its source, and its own."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from skyloom.features.spaces import POSITIONS, group_position, partitions_position, source_position, unpack
from skyloom.ingest.partitions import place_of
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.ports.online import Pair


class Standing(NamedTuple):
    """One partition: its place (the key of ``as_of``), and where its position and the group's lie in the store."""

    place: str
    source: Pair
    group: Pair


def standings(group: FeatureGroupDef, partitions: int) -> list[Standing]:
    """What is to be asked of each partition of a group's source."""
    places = [place_of(group.source, partition, partitions) for partition in range(partitions)]
    return [
        Standing(place, (POSITIONS, source_position(place)), (POSITIONS, group_position(group, partition)))
        for partition, place in enumerate(places)
    ]


class Partitions:
    """How many partitions sources have, learned from the store: it is told there with the first event that was folded, and
    never changes. Until then one is as good as any other number: nothing is there."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._sources = sorted(sources)
        self.unknown: list[Pair] = [(POSITIONS, partitions_position(source)) for source in self._sources]

    def learn(self, asked: Sequence[Pair], found: Sequence[bytes | None]) -> dict[str, int]:
        """By source, what was ``found`` where some of `unknown` were ``asked`` for; what is there is not asked for again."""
        known = {pair: unpack(stored) for pair, stored in zip(asked, found, strict=True) if stored is not None}
        self.unknown = [pair for pair in asked if pair not in known]
        sources = {(POSITIONS, partitions_position(source)): source for source in self._sources}
        return {sources[pair]: count for pair, count in known.items()}
