"""Features of requests out of the lake: the events of a source read once for all its groups, and set aside on the disk
when they are more than the memory is given for."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skyloom.features.algebra.program import Float64s, Int64s, columns_read
from skyloom.features.entities import NOBODY
from skyloom.features.offline.moments import moments_of, saw_of
from skyloom.features.offline.pit import Asked, Progress, by_event, by_offset, by_time, join
from skyloom.features.offline.spill import Spill, blocks, part_of
from skyloom.features.spaces import partitions_of, progress_space, unpack
from skyloom.ingest.codec import EVENT_COLUMNS, event_schema
from skyloom.ingest.partitions import parts_of
from skyloom.ingest.sink import events_topic
from skyloom.kernel.errors import UsageError
from skyloom.kernel.records.definitions import MODES, FeatureGroupDef, SourceDef
from skyloom.ports.lake import Lake
from skyloom.ports.online import OnlineStore

MEMORY = 2**30
"""Bytes of events that are held at once before they are set aside on the disk."""

PARTS = 64
"""Parts of what is set aside, of which one is held at a time."""


class Requests(NamedTuple):
    """Requests with what each saw: ``rows`` in the source's columns, ``t`` [m] ms, and for served ones the offsets."""

    rows: pa.Table
    t: Int64s
    as_of: list[dict[str, int]] | None

    def take(self, index: Int64s) -> "Requests":
        """Some of them, by their indices."""
        seen = None if self.as_of is None else [self.as_of[at] for at in index.tolist()]
        return Requests(self.rows.take(pa.array(index)), self.t[index], seen)


class Rule(NamedTuple):
    """When events are visible: ``order`` gives [n] for a table of events, ``asked`` [m] is what each request is beyond."""

    order: Callable[[pa.Table], Int64s]
    asked: Int64s


class Wanted(NamedTuple):
    """One group, by the request's columns that hold its entity."""

    group: FeatureGroupDef
    entity: tuple[str, ...]


def known_mode(mode: str) -> str:
    """``mode``, if it is one of `MODES`. Raises `UsageError` with those there are."""
    if mode not in MODES:
        raise UsageError(f"{mode!r} is no way to look back", tried=", ".join(MODES), fix=f"say {MODES[0]}")
    return mode


def rules_of(
    mode: str, source: SourceDef, requests: Requests, online: OnlineStore, lookup: str = ""
) -> list[tuple[Int64s, Rule]]:
    """The rules of a source's events, each with the requests [k] that it holds for (their indices): together all of them.

    Requests that were served see the offsets of their receipts, unless ``as_event``; ``lookup`` names the lookup whose these
    are. Of a source with several partitions, a store that was lost may have shown moments of which none is the later one:
    then there are several rules.
    """
    everything = np.arange(len(requests.t))
    if mode == "as_event":
        return [(everything, Rule(lambda events: by_event(events, source), requests.t))]
    with online.read() as view:
        partitions = partitions_of(view, source.name)
    if requests.as_of is None:
        entries = [progress(online, part.place) for part in parts_of(source, partitions)]
        return [(everything, Rule(lambda events: by_time(events, source, entries), requests.t))]
    saw = saw_of(requests.as_of, source.name, partitions, lookup)
    if partitions == 1:
        return [(everything, Rule(by_offset, saw[:, 0].copy()))]
    return [(rows, Rule(moments.order, asked)) for rows, moments, asked in moments_of(saw)]


def progress(online: OnlineStore, place: str) -> Progress:
    """The progress log of one partition's worker."""
    with online.read() as view:
        entries = [(unpack(value), unpack(key)) for key, value in view.scan(progress_space(place))]
    table = np.array(entries, np.int64).reshape(-1, 2)
    return Progress(table[:, 0].copy(), table[:, 1].copy())


def features_of(
    source: SourceDef,
    wanted: Sequence[Wanted],
    requests: Requests,
    rules: Sequence[tuple[Int64s, Rule]],
    lake: Lake,
    *,
    memory: int = MEMORY,
) -> list[Float64s]:
    """The features of each wanted group for every request, [m, aggregates] each, NaN for null.

    Beyond ``memory`` bytes of events, they are parted by entity in temporary files; the values are the same.
    """
    if len(rules) == 1:
        return _features(source, wanted, requests, rules[0][1], lake, memory)
    found = [np.full((len(requests.t), len(each.group.aggregates)), np.nan) for each in wanted]
    for rows, rule in rules:
        for out, values in zip(found, _features(source, wanted, requests.take(rows), rule, lake, memory), strict=True):
            out[rows] = values
    return found


def _features(
    source: SourceDef, wanted: Sequence[Wanted], requests: Requests, rule: Rule, lake: Lake, memory: int
) -> list[Float64s]:
    schema = _schema(source, wanted)
    batches = _batches(lake, source, schema)
    held, size = deque[pa.RecordBatch](), 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > memory:
            return _parted(source, wanted, requests, rule, _again(held, batches), schema)
    events = pa.Table.from_batches(list(held), schema)
    order = rule.order(events)
    return [join(each.group, source, events, order, _asked(each, requests, rule)) for each in wanted]


def _schema(source: SourceDef, wanted: Sequence[Wanted]) -> pa.Schema:
    """The columns of the source's events that the groups read."""
    needed = {source.schema.time, *(field.name for field in EVENT_COLUMNS)}
    for group, _ in wanted:
        needed |= columns_read(group)
    return pa.schema([field for field in event_schema(source.schema) if field.name in needed])


def _batches(lake: Lake, source: SourceDef, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if lake.version(events_topic(source.name)) is not None:
        yield from lake.scan(events_topic(source.name), columns=schema.names)


def _again(held: deque[pa.RecordBatch], more: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    while held:
        yield held.popleft()
    yield from more


def _parted(
    source: SourceDef,
    wanted: Sequence[Wanted],
    requests: Requests,
    rule: Rule,
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
) -> list[Float64s]:
    """The same features, with the events of each ``by`` set aside on the disk and joined part by part."""
    found = [np.full((len(requests.t), len(each.group.aggregates)), np.nan) for each in wanted]
    with ExitStack() as stack:
        spills = {
            by: stack.enter_context(Spill(schema, by, PARTS)) for by in dict.fromkeys(each.group.by for each in wanted)
        }
        for block in blocks(batches, schema):
            for spill in spills.values():
                spill.add(block)
        for spill in spills.values():
            spill.close()
        for each, out in zip(wanted, found, strict=True):
            _join_parts(source, each, _asked(each, requests, rule), rule, spills[each.group.by], out)
    return found


def _join_parts(source: SourceDef, wanted: Wanted, asked: Asked, rule: Rule, spill: Spill, out: Float64s) -> None:
    types = [spill.schema.field(name).type for name in spill.by]
    entity = [column.cast(kind) for column, kind in zip(asked.entity, types, strict=True)]
    part = part_of(entity, spill.parts)
    part[part == NOBODY] = 0  # its features are those of an entity without events, in any part
    for index in range(spill.parts):
        rows = np.flatnonzero(part == index)
        if len(rows) == 0:
            continue
        events = spill.read(index)
        chosen = pa.array(rows)
        mine = Asked([column.take(chosen) for column in entity], asked.t[rows], asked.order[rows])
        out[rows] = join(wanted.group, source, events, rule.order(events), mine)


def _asked(wanted: Wanted, requests: Requests, rule: Rule) -> Asked:
    return Asked([requests.rows.column(name) for name in wanted.entity], requests.t, rule.asked)
