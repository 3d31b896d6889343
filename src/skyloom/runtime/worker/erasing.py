"""Erasures carried out: the lake without the events, and the tiles of the entities that they touched built anew."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from skyloom.features.online.building import buildings, restart
from skyloom.features.online.fold import fold_group
from skyloom.features.spaces import tiles_space
from skyloom.ingest.deadletter import dead_letter_table
from skyloom.ingest.sink import events_topic, rows_from
from skyloom.kernel.entity import entity_key
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.monitoring.outcomes import read_position, write_position
from skyloom.platform import Platform
from skyloom.ports.lake import Lake
from skyloom.ports.log import Log
from skyloom.ports.online import OnlineWriter
from skyloom.runtime.worker.erasure import TOPIC, Erasure, asked_before, forgotten
from skyloom.runtime.worker.fence import Fenced
from skyloom.runtime.worker.lag import Lag
from skyloom.runtime.worker.quarantine import QuarantineLine
from skyloom.runtime.worker.source import SourceLine

_SPACE = "erasing"
_Entities = dict[str, list[tuple[Any, ...]]]
"""The entities that an erasure touches, by the space of a group's tiles."""


class Tombstones:
    """Lets the sources of a worker leave out what is asked to be forgotten, carried out or not."""

    def __init__(self, log: Log, sources: Sequence[SourceLine]) -> None:
        self._log, self._sources = log, sources
        self._known = 0

    def listen(self) -> None:
        """Take down what was asked since."""
        end = self._log.end(TOPIC)
        if end != self._known:
            asked = asked_before(self._log, end)
            for line in self._sources:
                line.erasures = [erasure for erasure in asked if erasure.source == line.source.name]
            self._known = end


class ErasuresLine:
    """The topic of erasures, one after the other. What an erasure touches is written down before the lake loses it, so that
    a killed worker carries it out to the end; tiles and position move in one transaction."""

    waiting = 0

    def __init__(
        self,
        platform: Platform,
        online: Fenced,
        sources: Sequence[SourceLine],
        refused: Mapping[str, QuarantineLine],
        *,
        alone: bool,
    ) -> None:
        self._platform, self._online, self._alone = platform, online, alone
        self._sources, self._refused = _by_source(sources), refused
        self.wants_all = False
        """Whether there is an erasure, which only the owner of every shard may carry out."""
        with online.read() as view:
            self._offset = read_position(view, TOPIC)

    def step(self) -> int:
        """Carry out the next erasure; how many. None while a source lags behind what the lake holds of it."""
        batches = self._platform.log.read(TOPIC, self._offset, 1)
        self.wants_all = bool(batches)
        recovering = any(line.recovering for lines in self._sources.values() for line in lines)
        if not batches or recovering or not self._alone:
            return 0
        erasure = msgspec.msgpack.decode(batches[0].payload, type=Erasure)
        self._carry_out(erasure, batches[0].end)
        self._offset = batches[0].end
        return 1

    def flush(self) -> None:
        """Nothing waits here."""

    def lag(self) -> Lag:
        """How many erasures are to be carried out."""
        left = rows_from(self._platform.log, TOPIC, self._offset)
        return Lag(left, left)

    def _carry_out(self, erasure: Erasure, end: int) -> None:
        lines = self._sources.get(erasure.source, [])
        touched: _Entities = {}
        if lines:
            for line in lines:
                line.flush()
            self._refused[erasure.source].drain()
            touched = self._touched(erasure, lines[0])
            _rewrite(self._platform.lake, erasure)
        with self._online.write(durable=False) as writer:
            if lines:
                _refold(writer, self._platform.lake, lines, touched)
            writer.delete(_SPACE, erasure.id.encode())
            write_position(writer, TOPIC, end)

    def _touched(self, erasure: Erasure, line: SourceLine) -> _Entities:
        key = erasure.id.encode()
        with self._online.read() as view:
            stored = view.get(_SPACE, key)
        if stored is not None:
            return msgspec.msgpack.decode(stored, type=_Entities)
        events = _named(self._platform.lake, events_topic(erasure.source), erasure.column, erasure.values)
        if events is not None:
            events = events.filter(pa.array(forgotten(events, [erasure])))
        found = {tiles_space(group): _entities(group, events) for group, _ in line.fold.groups}
        with self._online.write(durable=False) as writer:
            writer.put(_SPACE, key, msgspec.msgpack.encode(found))
        return found


def _by_source(lines: Sequence[SourceLine]) -> dict[str, list[SourceLine]]:
    """The lines of each source, one a partition."""
    found: dict[str, list[SourceLine]] = {}
    for line in lines:
        found.setdefault(line.source.name, []).append(line)
    return found


def _entities(group: FeatureGroupDef, events: pa.Table | None) -> list[tuple[Any, ...]]:
    if events is None:
        return []
    rows = zip(*(events.column(name).to_pylist() for name in group.by), strict=True)
    return sorted({row for row in rows if None not in row}, key=repr)


def _named(lake: Lake, table: str, column: str, values: Sequence[Any]) -> pa.Table | None:
    if lake.version(table) is None or not values:
        return None
    return lake.read(table, where=[(column, "in", sorted(set(values), key=repr))])


def _rewrite(lake: Lake, erasure: Erasure) -> None:
    """New versions of the source's tables without the events, where there are any; each notes the erasure."""
    topic, note = events_topic(erasure.source), {"erasure": erasure.id}
    if lake.version(topic) is not None:
        events = lake.read(topic)
        gone = forgotten(events, [erasure])
        if gone.any():
            lake.overwrite(topic, events.filter(pa.array(~gone)), note=note)
    for table in (dead_letter_table(erasure.source), f"quarantine/{erasure.source}"):
        if lake.version(table) is not None:
            refused = lake.read(table)
            kept = [not _speaks_of(text, erasure) for text in refused.column("row").to_pylist()]
            if not all(kept):
                lake.overwrite(table, refused.filter(pa.array(kept)), note=note)


def _speaks_of(text: str, erasure: Erasure) -> bool:
    try:
        row = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return isinstance(row, dict) and row.get(erasure.column) in erasure.values  # pyright: ignore[reportUnknownMemberType]


def _refold(writer: OnlineWriter, lake: Lake, lines: Sequence[SourceLine], touched: _Entities) -> None:
    """The tiles of the touched entities from what the lake holds: everything that is folded."""
    line, parts = lines[0], [line.part for line in lines]
    groups = [group for group, _ in line.fold.groups]
    in_work = {space: found for part in parts for space, found in buildings(writer, groups, part.partition).items()}
    for group, program in line.fold.groups:
        space = tiles_space(group)
        entities = touched.get(space, [])
        if not entities:
            continue
        if space in in_work:
            restart(writer, in_work[space], parts)
            if not in_work[space].state.beside:
                continue
        for entity in entities:
            writer.delete(space, entity_key(*entity))
        events = _named(lake, events_topic(line.source.name), group.by[0], [entity[0] for entity in entities])
        if events is not None and len(events):
            wanted = set(entities)
            rows = zip(*(events.column(name).to_pylist() for name in group.by), strict=True)
            mine = events.filter(pa.array([row in wanted for row in rows])).sort_by("_offset")
            fold_group(writer, group, program, line.source, mine)
