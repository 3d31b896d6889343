"""Rows of entity tables as serving reads them: one version an entity, the newest that was folded.

What makes it the newest is told in `skyloom.features.tables`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from skyloom.features.online.standing import Partitions, standings
from skyloom.features.spaces import tiles_space, unpack
from skyloom.kernel.entity import entity_key
from skyloom.kernel.errors import Transient
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.ports.online import OnlineStore, Pair

Value = float | int | str | bool | None
Entity = tuple[Value, ...]

_NOBODY = b"-"
"""A key that no entity has."""


class Version(msgspec.Struct, array_like=True, frozen=True):
    """A row as it is stored; ``values`` in the order of the table's attributes, times in ms."""

    ts: int
    offset: int
    values: tuple[Value, ...]


VERSIONS = msgspec.msgpack.Decoder(Version)


class Rows(NamedTuple):
    """Rows as they were served: ``values`` of each wanted table in the order of its attributes, and for each source (each
    partition of it) the offset before which its events were visible."""

    values: list[tuple[Value, ...]]
    as_of: dict[str, int]


class OnlineTables:
    """Reads the rows of a fixed set of entity tables. Safe for threads; it holds no state of its own."""

    def __init__(self, store: OnlineStore, groups: Mapping[str, FeatureGroupDef]) -> None:
        self._store = store
        self._tables = {name: group for name, group in groups.items() if group.attributes}
        self._standing = {table.name: standings(table, 1) for table in self._tables.values()}
        self._partitions = Partitions({table.source for table in self._tables.values()})

    def read(self, wanted: Sequence[tuple[str, Entity]]) -> Rows:
        """The newest rows of (table, entity) pairs, all of one moment; nulls for an entity that has none, or has a null.

        Raises `Transient` when a table is not built yet.
        """
        tables = [self._tables[name] for name, _ in wanted]
        standing = [(table, each) for table in tables for each in self._standing[table.name]]
        pairs = [pair for _, each in standing for pair in (each.source, each.group)]
        unknown = self._partitions.unknown
        pairs += [(tiles_space(table), _key(entity)) for table, (_, entity) in zip(tables, wanted, strict=True)]
        with self._store.read() as view:
            stored = view.fetch([*pairs, *unknown])  # one call sees one moment
        if unknown and self._learn(unknown, stored[len(pairs) :]):
            return self.read(wanted)
        as_of = {each.place: _offset(found) for (_, each), found in zip(standing, stored[::2], strict=False)}
        for (table, each), at, found in zip(standing, stored[::2], stored[1::2], strict=False):
            if found != at and as_of[each.place]:
                raise Transient(f"the table {table.name} is still being built", fix="ask again in a moment")
        rows = stored[len(pairs) - len(tables) : len(pairs)]
        return Rows([_row(*each) for each in zip(tables, wanted, rows, strict=True)], as_of)

    def _learn(self, unknown: Sequence[Pair], found: Sequence[bytes | None]) -> bool:
        """Take down what was found of how many partitions there are; whether what is read has to be read again."""
        learned = self._partitions.learn(unknown, found)
        for table in self._tables.values():
            if learned.get(table.source, 1) > 1:
                self._standing[table.name] = standings(table, learned[table.source])
        return any(count > 1 for count in learned.values())


def _key(entity: Entity) -> bytes:
    return _NOBODY if None in entity else entity_key(*entity)


def _offset(stored: bytes | None) -> int:
    return 0 if stored is None else unpack(stored)


def _row(table: FeatureGroupDef, wanted: tuple[str, Entity], stored: bytes | None) -> tuple[Value, ...]:
    if stored is None or None in wanted[1]:
        return (None,) * len(table.attributes)
    return VERSIONS.decode(stored).values
