"""Entity tables: rows that change slowly, seen as of the moment.

The events of a source are versions of rows. Of an entity, a request sees the visible version with the greatest (effective
time, offset): as with windows, visibility decides which versions there are, and event time which of them is the newest. A
version that comes late and is older than one that is there changes nothing. What is missing is seen as missing: a version
counts as a whole.

The stream keeps one version an entity; a training set finds the same one among all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numba import njit

from skyloom.features.columns import effective_times
from skyloom.features.entities import NOBODY, entity_codes
from skyloom.features.pit import Asked, codes_of
from skyloom.features.program import Int64s
from skyloom.features.ranges import by_entity, put_in_order
from skyloom.features.spaces import POSITIONS, entity_key, group_position, source_position, tiles_space, unpack
from skyloom.kernel.errors import Transient
from skyloom.kernel.records.definitions import FeatureGroupDef, SourceDef
from skyloom.ports.online import OnlineStore, OnlineWriter

Value = float | int | str | bool | None
Entity = tuple[Value, ...]

_AT_ONCE = 2_048
_NOBODY = b"-"
"""A key that no entity has."""


class Version(msgspec.Struct, array_like=True, frozen=True):
    """A row as it is stored; ``values`` in the order of the table's attributes, times in ms."""

    ts: int
    offset: int
    values: tuple[Value, ...]


_DECODER = msgspec.msgpack.Decoder(Version)


def fold_rows(
    writer: OnlineWriter, table: FeatureGroupDef, source: SourceDef, events: pa.Table, space: str | None = None
) -> None:
    """Let each entity have the newest of its versions: those that are stored, and the events."""
    space = space or tiles_space(table)
    ts = effective_times(events.column(source.schema.time), events.column("_appended"))
    codes = entity_codes([events.column(name) for name in table.by])
    entities = np.arange(int(codes.max(initial=NOBODY)) + 1)
    versions = Versions(ts, events.column("_offset").to_numpy(), codes, np.zeros(len(codes), np.int64))
    rows = newest(versions, entities, np.ones(len(entities), np.int64))
    chosen = events.take(pa.array(rows))
    keys = [entity_key(*values) for values in zip(*(chosen.column(name).to_pylist() for name in table.by), strict=True)]
    versions = zip(ts[rows].tolist(), chosen.column("_offset").to_pylist(), _values(chosen, table.attributes), strict=True)
    found = sorted(zip(keys, (Version(*version) for version in versions), strict=True), key=lambda pair: pair[0])
    for begin in range(0, len(found), _AT_ONCE):
        _write(writer, space, found[begin : begin + _AT_ONCE])


def _write(writer: OnlineWriter, space: str, found: Sequence[tuple[bytes, Version]]) -> None:
    stored = writer.get_many(space, [key for key, _ in found])
    fresh = [
        (key, msgspec.msgpack.encode(version))
        for (key, version), held in zip(found, stored, strict=True)
        if held is None or (version.ts, version.offset) > ((kept := _DECODER.decode(held)).ts, kept.offset)
    ]
    writer.put_many(space, fresh)


def _values(rows: pa.Table, attributes: Sequence[str]) -> list[tuple[Value, ...]]:
    """The attributes of each row as plain values."""
    columns = [rows.column(name) for name in attributes]
    plain = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in columns]
    return list(zip(*(column.to_pylist() for column in plain), strict=True))


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
    return _DECODER.decode(stored).values


def looked_up(
    table: FeatureGroupDef, source: SourceDef, events: pa.Table, order: Int64s, asked: Asked
) -> list[pa.ChunkedArray]:
    """Each attribute of the table for every request, [m], as its row was visible to it; null where there was none.

    ``order`` [n] says from when on each event is visible, as for `skyloom.features.pit.join`.
    """
    ours, theirs = codes_of([events.column(name) for name in table.by], asked.entity)
    ts = effective_times(events.column(source.schema.time), events.column("_appended"))
    rows = newest(Versions(ts, events.column("_offset").to_numpy(), ours, order), theirs, asked.order)
    chosen = pa.array(rows, mask=rows == NOBODY)
    return [events.column(name).take(chosen) for name in table.attributes]


class Versions(NamedTuple):
    """Versions of rows, [n] each: effective times, offsets, entities (`NOBODY`: none), and when each becomes visible."""

    ts: Int64s
    offset: Int64s
    entity: Int64s
    order: Int64s


def newest(versions: Versions, entity: Int64s, order: Int64s) -> Int64s:
    """For each request, [m], the index of the newest version of its entity whose order is below its own; `NOBODY`: none.

    >>> ones = np.array([1, 1, 1])
    >>> cards = Versions(ts=np.array([5, 9, 7]), offset=np.array([0, 1, 2]), entity=ones, order=np.array([10, 20, 30]))
    >>> newest(cards, ones, np.array([10, 15, 99])).tolist()
    [-1, 0, 1]
    """
    count = 1 + max(int(versions.entity.max(initial=NOBODY)), int(entity.max(initial=NOBODY)))
    ours, theirs = by_entity(versions.entity, count), by_entity(entity, count)
    visible = put_in_order(ours.rows, versions.order, ours.edges)
    asked = put_in_order(theirs.rows, order, theirs.edges)
    found = np.full(len(entity), NOBODY, np.int64)
    _newest(versions.ts, versions.offset, *ours, visible, *theirs, asked, found)
    return found


@njit(cache=True, nogil=True)
def _newest(ts: Any, offset: Any, rows: Any, edges: Any, visible: Any, asking: Any, cuts: Any, asked: Any, out: Any) -> None:
    for e in range(len(edges) - 1):
        at, best = edges[e], -1
        for j in range(cuts[e], cuts[e + 1]):
            while at < edges[e + 1] and visible[at] < asked[j]:
                row = rows[at]
                if best < 0 or ts[row] > ts[best] or (ts[row] == ts[best] and offset[row] > offset[best]):
                    best = row
                at += 1
            out[asking[j]] = best
