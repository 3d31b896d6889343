"""The speed layer: events of a source folded into the tiles of its groups, exactly once in effect.

Tiles, the keys seen, the positions and the progress log are written in one transaction: after a crash the next fold
begins where the last commit ended.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skyloom.features.columns import EventColumns, effective_times, event_columns
from skyloom.features.entities import entity_codes
from skyloom.features.kernel import fold_blob
from skyloom.features.program import Int64s, Program, compile_group
from skyloom.features.spaces import (
    POSITIONS,
    entity_key,
    group_position,
    pack,
    position,
    progress_space,
    seen_space,
    source_position,
    tiles_space,
    unpack,
)
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import FeatureGroupDef, SourceDef
from skyloom.ports.online import OnlineReader, OnlineWriter

_NOTHING = np.frombuffer(b"", np.int64)  # not to be written to, as all that is stored: one compiled form for both


class Folded(NamedTuple):
    """What a fold did: the first copies, in order; the repeated ones; how many were older than all that is kept."""

    fresh: pa.Table
    repeated: pa.Table
    late: int


class SourceFold:
    """Folds the events of one source into its groups. One owner at a time; the store's transaction is the fence."""

    def __init__(self, source: SourceDef, groups: Sequence[FeatureGroupDef]) -> None:
        self.source = source
        self.groups = [(group, compile_group(group)) for group in groups]

    def position(self, view: OnlineReader | OnlineWriter) -> int:
        """The offset up to which the source is folded."""
        return position(view, source_position(self.source.name)) or 0

    def fold(self, writer: OnlineWriter, events: pa.Table, end: int, now_ms: int) -> Folded:
        """Fold decoded events (columns of `skyloom.ingest.codec.event_schema`) that end before offset ``end``.

        A group that is still to be built is left alone: `build` takes what came in meanwhile from history.
        Raises `DataError` when a sum overflows; then the caller's transaction must be undone.
        """
        first = self._first_copies(writer, events)
        fresh = events.filter(pa.array(first))
        missing = self.missing(writer) if self.position(writer) else []
        late = 0
        for group, program in self.groups:
            if group not in missing:
                late += fold_group(writer, group, program, self.source, fresh)
                writer.put(POSITIONS, group_position(group), pack(end))
        writer.put(POSITIONS, source_position(self.source.name), pack(end))
        writer.put(progress_space(self.source.name), pack(end), pack(now_ms))
        return Folded(fresh, events.filter(pa.array(~first)), late)

    def missing(self, view: OnlineReader | OnlineWriter) -> list[FeatureGroupDef]:
        """The groups that are still to be built from history."""
        return [group for group, _ in self.groups if position(view, group_position(group)) is None]

    def build(self, writer: OnlineWriter, group: FeatureGroupDef, history: pa.Table) -> int:
        """Build a group from the first copies of every event below the source's position; how many were late."""
        late = fold_group(writer, group, compile_group(group), self.source, history)
        writer.put(POSITIONS, group_position(group), pack(self.position(writer)))
        return late

    def first_copies(self, view: OnlineReader | OnlineWriter, events: pa.Table) -> pa.Table:
        """The events that were the first of their key, of those that were folded before."""
        space = seen_space(self.source.name)
        offsets = events.column("_offset").to_pylist()
        stored = [view.get(space, key) for key in _keys(events, self.source)]
        keep = [found is not None and unpack(found) == offset for found, offset in zip(stored, offsets, strict=True)]
        return events.filter(pa.array(keep, pa.bool_()))

    def _first_copies(self, writer: OnlineWriter, events: pa.Table) -> npt.NDArray[np.bool_]:
        space = seen_space(self.source.name)
        first = np.zeros(len(events), np.bool_)
        offsets = events.column("_offset").to_pylist()
        for index, key in enumerate(_keys(events, self.source)):
            if writer.get(space, key) is None:
                writer.put(space, key, pack(offsets[index]))
                first[index] = True
        return first


def fold_group(writer: OnlineWriter, group: FeatureGroupDef, program: Program, source: SourceDef, events: pa.Table) -> int:
    """Fold first copies into the tiles of one group; how many events were older than everything kept."""
    ts = effective_times(events.column(source.schema.time), events.column("_appended"))
    columns = event_columns(events, ts, program)
    late, space = np.zeros(1, np.int64), tiles_space(group)
    for entity, order in _by_entity([events.column(name) for name in group.by]):
        key = entity_key(*entity)
        stored = writer.get(space, key)
        blob = _NOTHING if stored is None else np.frombuffer(stored, np.int64)
        mine = columns.take(order)
        end = int(events.column("_offset")[int(order[-1])].as_py()) + 1
        packed = fold_blob(program.tables, blob, mine, 0, len(order), end, late)
        if len(packed) == 0:
            raise _overflow(group, entity, mine)
        writer.put(space, key, packed.tobytes())
    return int(late[0])


def _overflow(group: FeatureGroupDef, entity: tuple[object, ...], events: EventColumns) -> DataError:
    named = ", ".join(f"{column} = {value!r}" for column, value in zip(group.by, entity, strict=True))
    return DataError(
        f"{group.name}: a sum for {named} grew beyond 62 bits",
        tried=f"{len(events.ts)} events",
        fix="declare the summed column with a smaller precision",
    )


def _keys(events: pa.Table, source: SourceDef) -> list[bytes]:
    return [entity_key(key) for key in events.column(source.schema.key).to_pylist()]


def _by_entity(columns: Sequence[pa.ChunkedArray]) -> Iterator[tuple[tuple[object, ...], Int64s]]:
    """Each entity (those with a null left out) with the indices of its events, in order."""
    codes = entity_codes(columns)
    order = np.argsort(codes, kind="stable")
    order = order[np.searchsorted(codes[order], 0) :]
    edges = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1))
    firsts = [column.take(pa.array(order[edges[:-1]])).to_pylist() for column in columns]
    for entity, begin, stop in zip(zip(*firsts, strict=True), edges[:-1], edges[1:], strict=True):
        yield entity, order[begin:stop]
