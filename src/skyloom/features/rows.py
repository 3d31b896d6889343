"""Rows of entity tables as serving reads them: one version an entity, the newest that was folded.

What makes it the newest is told in `skyloom.features.tables`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from skyloom.features.spaces import POSITIONS, entity_key, group_position, source_position, tiles_space, unpack
from skyloom.kernel.errors import Transient
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.ports.online import OnlineStore

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
    """Rows as they were served: ``values`` of each wanted table in the order of its attributes, and for each source the
    offset before which its events were visible."""

    values: list[tuple[Value, ...]]
    as_of: dict[str, int]


class OnlineTables:
    """Reads the rows of a fixed set of entity tables. Safe for threads; it holds no state of its own."""

    def __init__(self, store: OnlineStore, groups: Mapping[str, FeatureGroupDef]) -> None:
        self._store = store
        self._tables = {name: group for name, group in groups.items() if group.attributes}

    def read(self, wanted: Sequence[tuple[str, Entity]]) -> Rows:
        """The newest rows of (table, entity) pairs, all of one moment; nulls for an entity that has none, or has a null.

        Raises `Transient` when a table is not built yet.
        """
        tables = [self._tables[name] for name, _ in wanted]
        sources = list(dict.fromkeys(table.source for table in tables))
        pairs = [(POSITIONS, source_position(source)) for source in sources]
        pairs += [(POSITIONS, group_position(table)) for table in tables]
        pairs += [(tiles_space(table), _key(entity)) for table, (_, entity) in zip(tables, wanted, strict=True)]
        with self._store.read() as view:
            stored = view.fetch(pairs)  # one call sees one moment
        as_of = {source: _offset(found) for source, found in zip(sources, stored, strict=False)}
        built, rows = stored[len(sources) : len(sources) + len(tables)], stored[len(sources) + len(tables) :]
        for table, found in zip(tables, built, strict=True):
            if found is None and as_of[table.source]:
                raise Transient(f"the table {table.name} is still being built", fix="ask again in a moment")
        return Rows([_row(*each) for each in zip(tables, wanted, rows, strict=True)], as_of)


def _key(entity: Entity) -> bytes:
    return _NOBODY if None in entity else entity_key(*entity)


def _offset(stored: bytes | None) -> int:
    return 0 if stored is None else unpack(stored)


def _row(table: FeatureGroupDef, wanted: tuple[str, Entity], stored: bytes | None) -> tuple[Value, ...]:
    if stored is None or None in wanted[1]:
        return (None,) * len(table.attributes)
    return VERSIONS.decode(stored).values
