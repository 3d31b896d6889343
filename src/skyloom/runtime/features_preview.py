"""`skyloom features preview`: values of declared features on a sample of what is in the lake, before anything is built."""

from datetime import UTC, datetime
from math import isnan
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from skyloom.features.algebra.columns import effective_times
from skyloom.features.algebra.program import columns_read
from skyloom.features.offline.dataset import read_events
from skyloom.features.offline.pit import Asked, join
from skyloom.features.tables import looked_up
from skyloom.ingest.sink import events_topic
from skyloom.kernel.columns import ARROW_TYPES
from skyloom.kernel.errors import NotFound, UsageError
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import FeatureGroupDef, SourceDef
from skyloom.kernel.schema import Type
from skyloom.platform import Platform
from skyloom.ports.lake import Lake
from skyloom.runtime.applying import plan
from skyloom.runtime.features import columns_of, found_features
from skyloom.runtime.narrow import NarrowLake, reach_of


class Preview(msgspec.Struct, frozen=True):
    """Features at ``at_ms`` by event time: ``rows`` holds the columns of the entity, then the features (null is ``None``).

    ``events`` counts the events of the lake that they were computed from.
    """

    group: str
    at_ms: int
    events: int
    columns: tuple[str, ...]
    rows: tuple[tuple[float | int | str | None, ...], ...]


def preview(platform: Platform, name: str, entity: str | None = None, at: str | None = None, most: int = 10) -> Preview:
    """A feature, all of a group, or the rows of an entity table, as declared now (applied or not), from the lake's events.

    An event counts from its time plus its source's declared delay on, as in a training set from imported history. ``at`` is
    ISO 8601 text (just after the newest event when not given), ``entity`` the values of the group's columns with commas
    between them (the entities of the newest events when not given). Raises `NotFound` and `UsageError`.
    """
    project = plan(platform).project
    group_name, wanted = found_features(project, name)
    group = project.groups[group_name]
    source = project.sources[group.source]
    t = None if at is None else moment_of(at)
    events = _events(platform.lake, group, source, t)
    order = effective_times(events.column(source.schema.time), events.column("_appended")) + source.delay_ms
    if t is not None:
        events, order = events.filter(pa.array(order < t)), order[order < t]
    if not len(events) and (t is None or entity is None):
        raise NotFound(f"no events of {source.name} are in the lake for that", fix=f"skyloom ingest {source.name}")
    if entity is None:
        asked = _newest(group, events, order, most)
    else:
        asked = _entity(group, source, entity)
        if t is None:  # at a moment that was asked for, an entity without events has features too
            _require_known(group, events, asked)
    t = int(order.max()) + 1 if t is None else t
    values = _values(group, source, events, order, asked, t)
    places = [columns_of(group).index(column) for column in wanted]
    keys = zip(*(column.to_pylist() for column in asked), strict=True)
    rows = tuple((*key, *(row[place] for place in places)) for key, row in zip(keys, values, strict=True))
    return Preview(group_name, t, len(events), (*group.by, *wanted), rows)


def _values(
    group: FeatureGroupDef, source: SourceDef, events: pa.Table, order: Any, asked: list[pa.ChunkedArray], t: int
) -> list[list[Any]]:
    moments = np.full(len(asked[0]), t, np.int64)
    if group.attributes:
        rows = looked_up(group, source, events, order, Asked(asked, moments, moments))
        return [list(row) for row in zip(*(_plain(column) for column in rows), strict=True)]
    values: Any = join(group, source, events, order, Asked(asked, moments, moments))
    return [[None if isnan(value) else value for value in row] for row in values.tolist()]


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """Values as they are printed and written as JSON: a time is ISO 8601 text."""
    values = column.to_pylist()
    return [value.isoformat() if isinstance(value, datetime) else value for value in values]


def moment_of(text: str) -> int:
    """ISO 8601 text, UTC when it names no zone, in milliseconds since 1970. Raises `UsageError`.

    >>> moment_of("1970-01-01T00:00:01Z"), moment_of("1970-01-02")
    (1000, 86400000)
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no moment", fix="write it as --at 2013-04-01T12:00Z") from error
    aware = read if read.tzinfo else read.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution * 1000)


def _events(lake: Lake, group: FeatureGroupDef, source: SourceDef, t: int | None) -> pa.Table:
    """The events in the lake; for a given moment, those that a window can reach."""
    reach, clock = reach_of(group), source.schema.time
    if t is not None and reach is not None and reach < t:
        lake = NarrowLake(lake, {events_topic(source.name): [(clock, ">=", t - reach)]})
    events = read_events(lake, source)
    missing = sorted(columns_read(group) - set(events.column_names))
    if missing:
        raise NotFound(
            f"the events in the lake have no column {', '.join(missing)} yet", fix=f"skyloom ingest {source.name}"
        )
    return events


def _newest(group: FeatureGroupDef, events: pa.Table, order: Any, most: int) -> list[pa.ChunkedArray]:
    """The entities that the newest events are of, newest first; events without an entity left out."""
    newest = events.select(list(group.by)).take(pa.array(np.argsort(order, kind="stable")[::-1]))
    found: dict[tuple[Any, ...], None] = {}
    for batch in newest.to_batches(max_chunksize=1_024):
        for entity in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if None not in entity and len(found) < most:
                found.setdefault(entity)
        if len(found) == most:
            break
    types = [events.schema.field(column).type for column in group.by]
    columns = zip(*found, strict=True) if found else ([] for _ in group.by)
    return [pa.chunked_array([pa.array(list(column), kind)]) for column, kind in zip(columns, types, strict=True)]


def _entity(group: FeatureGroupDef, source: SourceDef, text: str) -> list[pa.ChunkedArray]:
    parts = text.split(",") if len(group.by) > 1 else [text]
    if len(parts) != len(group.by):
        fix = f"--entity {','.join(column.upper() for column in group.by)}"
        raise UsageError(f"{text!r} names {len(parts)} of the {len(group.by)} columns of an entity", fix=fix)
    columns: list[pa.ChunkedArray] = []
    for column, part in zip(group.by, parts, strict=True):
        kind = source.schema[column].type
        try:
            value = int(part) if kind is Type.INT else part
        except ValueError as error:
            raise UsageError(f"{part!r} is no {column}, which is an {kind}", fix="give a whole number") from error
        columns.append(pa.chunked_array([pa.array([value], ARROW_TYPES[kind])]))
    return columns


def _require_known(group: FeatureGroupDef, events: pa.Table, entity: list[pa.ChunkedArray]) -> None:
    for column, value in zip(group.by, (each.to_pylist()[0] for each in entity), strict=True):
        known = events.column(column).combine_chunks().dictionary_encode().dictionary.to_pylist()
        if value not in known:
            near = nearest(str(value), [str(each) for each in known])
            fix = f"did you mean {' or '.join(near)}?" if near else "leave --entity out to see the newest ones"
            raise NotFound(f"no event in the lake has {column} = {value!r}", tried=f"{len(events):,} events", fix=fix)
