"""Entity tables: rows that change slowly, seen as of the moment.

The events of a source are versions of rows. Of an entity, a request sees the visible version with the greatest (effective
time, offset): as with windows, visibility decides which versions there are, and event time which of them is the newest. A
version that comes late and is older than one that is there changes nothing. What is missing is seen as missing: a version
counts as a whole.

The stream keeps one version an entity; a training set finds the same one among all of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numba import njit

from skyloom.features.algebra.columns import effective_times
from skyloom.features.algebra.program import Int64s
from skyloom.features.entities import NOBODY, entity_codes
from skyloom.features.offline.pit import Asked, codes_of
from skyloom.features.offline.ranges import by_entity, put_in_order
from skyloom.features.online.rows import VERSIONS, Value, Version
from skyloom.features.spaces import tiles_space
from skyloom.kernel.entity import entity_key
from skyloom.kernel.records.definitions import FeatureGroupDef, SourceDef
from skyloom.ports.online import OnlineWriter

_AT_ONCE = 2_048


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
        if held is None or (version.ts, version.offset) > ((kept := VERSIONS.decode(held)).ts, kept.offset)
    ]
    writer.put_many(space, fresh)


def _values(rows: pa.Table, attributes: Sequence[str]) -> list[tuple[Value, ...]]:
    """The attributes of each row as plain values."""
    columns = [rows.column(name) for name in attributes]
    plain = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in columns]
    return list(zip(*(column.to_pylist() for column in plain), strict=True))


def looked_up(
    table: FeatureGroupDef, source: SourceDef, events: pa.Table, order: Int64s, asked: Asked
) -> list[pa.ChunkedArray]:
    """Each attribute of the table for every request, [m], as its row was visible to it; null where there was none.

    ``order`` [n] says from when on each event is visible, as for `skyloom.features.offline.pit.join`.
    """
    rows = rows_of(table, source, events, order, asked)
    chosen = pa.array(rows, mask=rows == NOBODY)
    return [events.column(name).take(chosen) for name in table.attributes]


def rows_of(table: FeatureGroupDef, source: SourceDef, events: pa.Table, order: Int64s, asked: Asked) -> Int64s:
    """For every request, [m], the index of the event that is its row; `NOBODY` where there was none."""
    ours, theirs = codes_of([events.column(name) for name in table.by], asked.entity)
    ts = effective_times(events.column(source.schema.time), events.column("_appended"))
    return newest(Versions(ts, events.column("_offset").to_numpy(), ours, order), theirs, asked.order)


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
