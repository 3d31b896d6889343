"""The speed layer: events of a source folded into the tiles of its groups, exactly once in effect.

Tiles, the keys seen, the positions and the progress log are written in one transaction: after a crash the next fold
begins where the last commit ended.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skyloom.features.algebra.batch import fold_packed
from skyloom.features.algebra.columns import effective_times, event_columns
from skyloom.features.algebra.program import Program, compile_group
from skyloom.features.entities import entity_codes
from skyloom.features.online.building import Building, begin_missing, buildings
from skyloom.features.online.seen import DEAD, ERASED, FRESH, REPEATED, Known, SeenKeys, Verdicts, key_bytes
from skyloom.features.spaces import (
    POSITIONS,
    build_position,
    group_position,
    pack,
    partitions_position,
    position,
    progress_space,
    source_position,
    tiles_space,
    unpack,
    verdicts_space,
)
from skyloom.features.tables import fold_rows
from skyloom.features.times import keep_ms
from skyloom.ingest.partitions import SourcePart, parts_of
from skyloom.kernel.entity import entity_key
from skyloom.kernel.errors import Conflict
from skyloom.kernel.records.definitions import FeatureGroupDef, SourceDef
from skyloom.ports.online import OnlineReader, OnlineStore, OnlineWriter

_AT_ONCE = 2_048
"""Entities that are read, folded and written together: what bounds the memory of a step."""

Mask = npt.NDArray[np.bool_]


class Folded(NamedTuple):
    """What a fold did: the first copies, in order; the repeated ones; those older than the source's horizon; and how many
    of the first copies were older than everything that a group keeps."""

    fresh: pa.Table
    repeated: pa.Table
    dead: pa.Table
    late: int = 0


class SourceFold:
    """Folds the events of one source, or of one partition of it, into its groups. One owner at a time; the store's
    transaction is the fence. An entity's events may lie in several partitions: its tiles are the same in any order.

    ``horizon_ms`` is how far behind the newest event one still counts (see `skyloom.features.online.seen`); ``None``: any
    does.
    """

    def __init__(
        self,
        source: SourceDef,
        groups: Sequence[FeatureGroupDef],
        horizon_ms: int | None = None,
        *,
        partition: int = 0,
        partitions: int = 1,
    ) -> None:
        self.source = source
        self.part = SourcePart(source, partition, partitions)
        self.groups = [(group, compile_group(group)) for group in groups]
        self._place = self.part.place
        self._seen = SeenKeys(self.part, horizon_ms)

    def position(self, view: OnlineReader | OnlineWriter) -> int:
        """The offset up to which the partition is folded."""
        return position(view, source_position(self._place)) or 0

    def fold(
        self,
        writer: OnlineWriter,
        events: pa.Table,
        end: int,
        now_ms: int | None,
        *,
        known: Known | None = None,
        erased: Mask | None = None,
    ) -> Folded:
        """Fold decoded events (columns of `skyloom.ingest.codec.event_schema`) that end before offset ``end``.

        ``now_ms`` goes into the progress log, unless that holds more than this already (``None``). ``known`` tells which
        imported rows beyond the horizon are in the lake; ``erased`` [n] are rows to be forgotten.
        A group that is still to be built is left alone, one that is being built takes what comes in behind its barrier.
        A sum that overflows is an error to who reads its window; the stream goes on.
        """
        begun = self.position(writer)
        verdicts = self._verdicts(writer, events, known, erased)
        folded = _apart(events, verdicts)
        late = self._follow(writer, folded.fresh, begun, end)
        if now_ms is not None:
            writer.put(progress_space(self._place), pack(end), pack(now_ms))
        if len(events):
            told = verdicts.tobytes() if verdicts.any() else b""
            writer.put(verdicts_space(self._place), pack(end), pack(begun) + told)
        return folded._replace(late=late)

    def refold(self, writer: OnlineWriter, fresh: pa.Table, end: int) -> int:
        """Fold first copies that are in the lake, where the log no longer holds them; how many were late."""
        ts = effective_times(fresh.column(self.source.schema.time), fresh.column("_appended"))
        self._seen.remember(writer, fresh, ts)
        return self._follow(writer, fresh, self.position(writer), end)

    def require(self, view: OnlineReader | OnlineWriter, offset: int) -> None:
        """Raises `Conflict` when the source is folded up to another offset: somebody else did, or the store was lost."""
        stands = self.position(view)
        if stands != offset:
            raise Conflict(
                f"{self._place} is folded up to offset {stands}, not {offset}",
                tried=f"a fold from offset {offset} on",
                fix="nothing: the worker begins again from the store",
            )

    def _follow(self, writer: OnlineWriter, fresh: pa.Table, begun: int, end: int) -> int:
        """Let groups, buildings and positions follow the first copies from ``begun`` to ``end``; how many were late."""
        if not begun:
            writer.put(POSITIONS, partitions_position(self.source.name), pack(self.part.partitions))
        number = self.part.partition
        in_work = buildings(writer, [group for group, _ in self.groups], number)
        late = 0
        for group, program in self.groups:
            building, stands = in_work.get(tiles_space(group)), position(writer, group_position(group, number))
            if stands == begun or not begun:
                late += fold_group(writer, group, program, self.source, fresh)
                writer.put(POSITIONS, group_position(group, number), pack(end))
            elif stands is not None:  # somebody folded without it
                writer.delete(POSITIONS, group_position(group, number))
            if building is not None and not building.over and building.state.live == begun:
                fold_group(writer, group, program, self.source, fresh, building.space)
                building.followed(writer, end)
            elif building is not None and not building.over:
                writer.delete(POSITIONS, build_position(group, number))
        writer.put(POSITIONS, source_position(self._place), pack(end))
        return late

    def missing(self, view: OnlineReader | OnlineWriter) -> list[FeatureGroupDef]:
        """The groups that are still to be built from history."""
        return [group for group, _ in self.groups if position(view, group_position(group, self.part.partition)) is None]

    def begin_missing(self, store: OnlineStore) -> None:
        """Begin to build, in every partition, the groups that are new or did not follow the source for a while."""
        begin_missing(store, [group for group, _ in self.groups], parts_of(self.source, self.part.partitions))

    def advance(self, writer: OnlineWriter, building: Building, history: pa.Table, upto: int) -> Building:
        """Fold first copies with offsets from the building's position to ``upto`` into what is built; what it is then."""
        fold_group(writer, building.group, compile_group(building.group), self.source, history, building.space)
        return building.moved(writer, upto, self.position(writer))

    def judged(self, view: OnlineReader | OnlineWriter, events: pa.Table) -> Folded:
        """What events that were folded, and are not `forgotten`, had been found to be. No others may be among them."""
        offsets = events.column("_offset").to_numpy()
        verdicts = np.full(len(events), FRESH, np.uint8)
        for key, value in view.scan(verdicts_space(self._place)):
            begin, end = np.searchsorted(offsets, [unpack(value[:8]), unpack(key)])
            if len(value) > 8 and end > begin:
                verdicts[begin:end] = np.frombuffer(value, np.uint8, offset=8)[-(end - begin) :]
        return _apart(events, verdicts)

    def unsunk(self, view: OnlineReader | OnlineWriter) -> int | None:
        """The offset from which on what was folded may not be in the lake; ``None`` when all is."""
        first = next(iter(view.scan(verdicts_space(self._place))), None)
        return None if first is None else unpack(first[1][:8])

    def forget(self, store: OnlineStore, sunk: int) -> None:
        """Let go of what is of no use once all before offset ``sunk`` is in the lake: verdicts, keys beyond the horizon."""
        space = verdicts_space(self._place)
        with store.read() as view:
            done = [key for key, _ in view.scan(space) if unpack(key) <= sunk]
        if done:
            with store.write(durable=False) as writer:
                for key in done:
                    writer.delete(space, key)
        self._seen.forget(store, sunk)

    def _verdicts(self, writer: OnlineWriter, events: pa.Table, known: Known | None, erased: Mask | None) -> Verdicts:
        verdicts = np.full(len(events), ERASED, np.uint8)
        kept = np.ones(len(events), np.bool_) if erased is None else ~erased
        judged = events.filter(pa.array(kept)) if not kept.all() else events
        ts = effective_times(judged.column(self.source.schema.time), judged.column("_appended"))
        verdicts[kept] = self._judge(writer, judged, ts, known)
        return verdicts

    def _judge(self, writer: OnlineWriter, events: pa.Table, ts: npt.NDArray[np.int64], known: Known | None) -> Verdicts:
        return self._seen.judge(writer, events, ts, known)


def _apart(events: pa.Table, verdicts: Verdicts) -> Folded:
    if not verdicts.any():
        nothing = events.slice(0, 0)
        return Folded(events, nothing, nothing)
    return Folded(*(events.filter(pa.array(verdicts == verdict)) for verdict in (FRESH, REPEATED, DEAD)))


def fold_group(
    writer: OnlineWriter,
    group: FeatureGroupDef,
    program: Program,
    source: SourceDef,
    events: pa.Table,
    space: str | None = None,
) -> int:
    """Fold first copies into the tiles of one group (in its own space, or in another); how many were older than everything
    that the group keeps of their entity."""
    if group.attributes:
        fold_rows(writer, group, source, events, space)
        return 0
    space = space or tiles_space(group)
    codes = entity_codes([events.column(name) for name in group.by])
    order = np.argsort(codes, kind="stable")
    order = order[np.searchsorted(codes[order], 0) :]
    edges = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1)).astype(np.int64)
    ts = effective_times(events.column(source.schema.time), events.column("_appended"))
    columns = event_columns(events, ts, program).take(order)
    ends = events.column("_offset").to_numpy()[order] + 1
    entities = [events.column(name).take(pa.array(order[edges[:-1]])) for name in group.by]
    late = np.zeros(1, np.int64)
    for at in range(0, len(edges) - 1, _AT_ONCE):
        firsts = edges[at : at + _AT_ONCE + 1]
        mine = [column.slice(at, _AT_ONCE) for column in entities]
        keys = _entity_keys(mine)
        packed = fold_packed(program, writer.get_many(space, keys), columns, firsts, ends[firsts[1:] - 1], late)
        pairs = sorted((key, packed.blob(e)) for e, key in enumerate(keys))
        writer.put_many(space, pairs, keep_ms=keep_ms(group))
    return int(late[0])


def _entity_keys(columns: Sequence[pa.ChunkedArray]) -> list[bytes]:
    if len(columns) == 1:
        return key_bytes(columns[0])
    return [entity_key(*values) for values in zip(*(column.to_pylist() for column in columns), strict=True)]
