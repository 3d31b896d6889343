"""The point-in-time join: features of many requests at once, each as it was visible at its own moment."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skyloom.features.algebra.columns import EventColumns, effective_times, event_columns
from skyloom.features.algebra.kernel import sweep
from skyloom.features.algebra.program import HOP, Float64s, Int64s, Program, compile_group
from skyloom.features.algebra.tiles import FULL, OVERFLOW
from skyloom.features.entities import NOBODY, entity_codes
from skyloom.features.offline.parallel import cores, in_parallel, side_by_side
from skyloom.features.offline.ranges import ByEntity, by_entity, put_in_order, ranges
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import FeatureGroupDef, SourceDef


class Asked(NamedTuple):
    """Requests by one entity: ``entity`` its columns [m] (a null in one has no features), ``t`` [m] ms, ``order`` [m]: an
    event is visible when its order is below (offsets for `by_offset`, moments in ms for `by_time`)."""

    entity: Sequence[pa.ChunkedArray]
    t: Int64s
    order: Int64s


_SMALL = 200_000
_READ_COST = 8
"""What a request weighs beside an event, when the work is cut into ranges."""
_MOST_ROOM = 2**17


class SortedRequests(NamedTuple):
    """The same with entities as numbers, sorted by entity, then by order."""

    entity: Int64s
    t: Int64s
    order: Int64s


class Progress(NamedTuple):
    """A worker's progress log: at ``times`` [p] (ms, rising) everything below ``offsets`` [p] had been folded."""

    times: Int64s
    offsets: Int64s


def by_offset(events: pa.Table) -> Int64s:
    """The order of ``as_served``: an event is visible to requests that were served with ``as_of`` beyond its offset."""
    return events.column("_offset").to_numpy()


def by_time(events: pa.Table, source: SourceDef, progress: Sequence[Progress]) -> Int64s:
    """The order of ``as_available``: the first moment (ms) at which a request would have seen each event, minus one.

    A streamed event is visible from the first entry of its partition's progress log beyond its offset. Imported history has
    no arrival times: there an event is visible after its effective time plus the declared delay (``as_event``).
    A request at ``t`` sees orders below ``t``; an event without a later progress entry is not visible yet.
    """
    ts = effective_times(events.column(source.schema.time), events.column("_appended"))
    imported = events.column("_imported").to_numpy()
    offsets = events.column("_offset").to_numpy()
    visible = np.empty(len(offsets), np.int64)
    for partition, entries in enumerate(progress):
        mine = offsets % len(progress) == partition if len(progress) > 1 else np.s_[:]
        entry = np.searchsorted(entries.offsets, offsets[mine], side="right")
        visible[mine] = np.append(entries.times, np.int64(2**62))[entry] - 1
    return np.where(imported, ts + source.delay_ms, visible)


def by_event(events: pa.Table, source: SourceDef) -> Int64s:
    """The order of ``as_event``: every event is visible after its effective time plus the source's declared delay, however
    it came in. A request at ``t`` sees orders below ``t``."""
    return effective_times(events.column(source.schema.time), events.column("_appended")) + source.delay_ms


def join(group: FeatureGroupDef, source: SourceDef, events: pa.Table, order: Int64s, asked: Asked) -> Float64s:
    """The features of ``group`` for every request, shape [m, aggregates], float64 with NaN for null.

    ``events`` are first copies; ``order`` [n] says from when on each is visible. Ranges of entities are joined side by
    side, on all cores that the process may use; the values do not depend on how many. Raises `DataError` when a sum
    overflows.
    """
    program = compile_group(group)
    ts = effective_times(events.column(source.schema.time), events.column("_appended"))
    (ours, theirs), columns = side_by_side(
        lambda: _by_entity([events.column(name) for name in group.by], asked.entity),
        lambda: event_columns(events, ts, program),
    )
    work = _Work(program, columns, order, ours, asked, theirs)
    result = np.empty((len(asked.t), program.outputs))
    in_parallel(lambda part: _join_range(work, *part, result), list(_parts(work)))
    return result


def _by_entity(events: Sequence[pa.ChunkedArray], requests: Sequence[pa.ChunkedArray]) -> tuple[ByEntity, ByEntity]:
    """Events and requests by entity; requests that name none are of one that has no event."""
    ours, theirs = codes_of(events, requests)
    count = 1 + max(int(ours.max(initial=NOBODY)), int(theirs.max(initial=NOBODY)))
    theirs[theirs == NOBODY] = count
    return by_entity(ours, count + 1), by_entity(theirs, count + 1)


class _Work(NamedTuple):
    """What all ranges of a join share."""

    program: Program
    columns: EventColumns
    order: Int64s
    events: ByEntity
    asked: Asked
    requests: ByEntity


def _parts(work: _Work) -> Iterator[tuple[int, int]]:
    """Ranges of entities: one when there is little to do, else four a core, so that no core waits long for another."""
    weights = np.diff(work.events.edges) + _READ_COST * np.diff(work.requests.edges)
    return ranges(weights, 1 if int(weights.sum()) < _SMALL else 4 * cores())


def _join_range(work: _Work, begin: int, stop: int, result: Float64s) -> None:
    """Joins the entities ``begin .. stop - 1`` and writes their rows of ``result``."""
    asking = work.requests.of(begin, stop).copy()
    if len(asking) == 0:
        return
    asked_edges = work.requests.edges[begin : stop + 1] - work.requests.edges[begin]
    asked_order = put_in_order(asking, work.asked.order, asked_edges)
    asked = SortedRequests(_entities(asked_edges), work.asked.t[asking], asked_order)
    rows = work.events.of(begin, stop).copy()
    edges = work.events.edges[begin : stop + 1] - work.events.edges[begin]
    order = put_in_order(rows, work.order, edges)
    result[asking] = _sweep(work.program, work.columns.take(rows), _entities(edges), order, asked)


def _entities(edges: Int64s) -> Int64s:
    """The entity of each row, counted from 0."""
    return np.repeat(np.arange(len(edges) - 1), np.diff(edges))


def codes_of(events: Sequence[pa.ChunkedArray], requests: Sequence[pa.ChunkedArray]) -> tuple[Int64s, Int64s]:
    """Entities of events and of requests as numbers, equal where equal; `NOBODY` where a part is null."""
    codes = entity_codes([_one_after_the_other(*pair) for pair in zip(events, requests, strict=True)])
    return codes[: len(events[0])], codes[len(events[0]) :].copy()


def _one_after_the_other(events: pa.ChunkedArray, requests: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([*events.chunks, *requests.cast(events.type).chunks], events.type)


def _sweep(program: Program, columns: EventColumns, entity: Int64s, order: Int64s, asked: SortedRequests) -> Float64s:
    out, capacity = np.full((len(asked.entity), program.outputs), np.nan), _room(program, columns.ts, entity)
    while (status := sweep(program.packed, columns, entity, order, asked, out, capacity)) == FULL:
        capacity *= 4
    if status == OVERFLOW:
        summed = " or ".join(program.columns)
        raise DataError(f"a sum of {summed} grew beyond 62 bits", fix="declare sky.field(precision=...) of fewer digits")
    return out


def _room(program: Program, ts: Int64s, entity: Int64s) -> int:
    """Tiles that suffice for each entity, unless they are very many: no more than its events, or hops from first to last."""
    most = int(np.bincount(entity).max(initial=1)) if len(entity) else 1
    hops = (int(ts.max()) - int(ts.min())) // int(program.tables.levels[:, HOP].min()) + 2 if len(ts) else 1
    return min(most, hops, _MOST_ROOM)
