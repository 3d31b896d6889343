"""The point-in-time join: features of many requests at once, each as it was visible at its own moment."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skyloom.features.columns import EventColumns, effective_times, event_columns
from skyloom.features.entities import NOBODY, entity_codes
from skyloom.features.kernel import FULL, OVERFLOW, sweep
from skyloom.features.program import Float64s, Int64s, Program, compile_group
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import FeatureGroupDef, SourceDef


class Asked(NamedTuple):
    """Requests by one entity: ``entity`` its columns [m] (a null in one has no features), ``t`` [m] ms, ``order`` [m]: an
    event is visible when its order is below (offsets for `by_offset`, moments in ms for `by_time`)."""

    entity: Sequence[pa.ChunkedArray]
    t: Int64s
    order: Int64s


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


def by_time(events: pa.Table, source: SourceDef, progress: Progress) -> Int64s:
    """The order of ``as_available``: the first moment (ms) at which a request would have seen each event, minus one.

    A streamed event is visible from the first entry of the progress log beyond its offset. Imported history has no
    arrival times: there an event is visible after its effective time plus the declared delay (``as_event``).
    A request at ``t`` sees orders below ``t``; an event without a later progress entry is not visible yet.
    """
    ts = effective_times(events.column(source.schema.time), events.column("_appended"))
    imported = events.column("_imported").to_numpy()
    entry = np.searchsorted(progress.offsets, events.column("_offset").to_numpy(), side="right")
    moments = np.append(progress.times, np.int64(2**62))
    return np.where(imported, ts + source.delay_ms, moments[entry] - 1)


def join(group: FeatureGroupDef, source: SourceDef, events: pa.Table, order: Int64s, asked: Asked) -> Float64s:
    """The features of ``group`` for every request, shape [m, aggregates], float64 with NaN for null.

    ``events`` are first copies, in order of offset. Raises `DataError` when a sum overflows.
    """
    program = compile_group(group)
    entities, requests = _codes([events.column(name) for name in group.by], asked.entity)
    keep = np.flatnonzero(entities >= 0)
    by_entity = keep[np.lexsort((order[keep], entities[keep]))]
    ts = effective_times(events.column(source.schema.time), events.column("_appended"))
    columns = event_columns(events, ts, program).take(by_entity)
    asking = np.lexsort((asked.order, requests))
    sorted_requests = SortedRequests(requests[asking], asked.t[asking], asked.order[asking])
    result = np.empty((len(requests), program.outputs))
    result[asking] = _sweep(program, columns, entities[by_entity], order[by_entity], sorted_requests)
    return result


def _codes(events: Sequence[pa.ChunkedArray], requests: Sequence[pa.ChunkedArray]) -> tuple[Int64s, Int64s]:
    """Entities as numbers, equal where equal; a request's null is an entity that has no event."""
    codes = entity_codes([_one_after_the_other(*pair) for pair in zip(events, requests, strict=True)])
    ours, theirs = codes[: len(events[0])], codes[len(events[0]) :].copy()
    theirs[theirs == NOBODY] = np.int64(2**62)
    return ours, theirs


def _one_after_the_other(events: pa.ChunkedArray, requests: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([*events.chunks, *requests.cast(events.type).chunks], events.type)


def _sweep(program: Program, columns: EventColumns, entity: Int64s, order: Int64s, asked: SortedRequests) -> Float64s:
    out, capacity = np.full((len(asked.entity), program.outputs), np.nan), 512
    while (status := sweep(program.tables, columns, entity, order, asked, out, capacity)) == FULL:
        capacity *= 4
    if status == OVERFLOW:
        raise DataError("a sum grew beyond 62 bits", fix="declare the summed column with a smaller precision")
    return out
