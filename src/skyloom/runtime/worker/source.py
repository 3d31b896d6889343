"""One partition of a source: its log folded into features and labels, what it was found to be sunk into the lake."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.features.offline.pit import codes_of
from skyloom.features.online.fold import Folded, SourceFold
from skyloom.ingest.contract import quarantined
from skyloom.ingest.deadletter import count_dead, dead_letter_table, dead_letters
from skyloom.ingest.partitions import SourcePart
from skyloom.ingest.sink import APP, TableSink, events_from, events_topic, read_all, read_slice
from skyloom.kernel.records.definitions import ProjectDef, SourceDef
from skyloom.monitoring.outcomes import join_labels
from skyloom.platform import Platform
from skyloom.ports.lake import Lake
from skyloom.ports.online import OnlineWriter
from skyloom.runtime.worker.builder import Builder
from skyloom.runtime.worker.erasure import Erasure, forgotten
from skyloom.runtime.worker.fence import Fenced
from skyloom.runtime.worker.horizon import horizon_of
from skyloom.runtime.worker.labels import label_rows
from skyloom.runtime.worker.lag import Lag
from skyloom.runtime.worker.progress import ProgressTable
from skyloom.runtime.worker.refill import Refill
from skyloom.runtime.worker.retention import Sunk

pc: Any = _compute
_REPEATED = "repeated"


class SourceLine:
    """One partition of a source. What is folded, joined and found out moves in one transaction; the lake follows."""

    def __init__(self, platform: Platform, online: Fenced, part: SourcePart, project: ProjectDef) -> None:
        self._platform, self._online = platform, online
        self.part, self.source = part, part.source
        source, app = part.source, _app_of(part)
        self._labelled = [model for model in project.models.values() if model.label.source == source.name]
        groups = [group for group in project.groups.values() if group.source == source.name]
        horizon = horizon_of(project, source.name)
        self.fold = SourceFold(source, groups, horizon, partition=part.partition, partitions=part.partitions)
        self.erasures: list[Erasure] = []
        lake, topic = platform.lake, events_topic(source.name)
        self._fresh = TableSink(lake, topic, app(APP))
        self._repeated = TableSink(lake, f"quarantine/{source.name}", app(_REPEATED))
        self._dead = TableSink(lake, dead_letter_table(source.name), app(APP))
        self._progress = ProgressTable(lake, part.place)
        self._refill = Refill(platform.log, lake, online, self.fold, self._join)
        self._offset = self._recover()
        self._builder = Builder(platform.lake, online, self.fold, self._sunk)

    @property
    def waiting(self) -> int:
        """Rows that wait for the lake."""
        return self._fresh.rows + self._repeated.rows + self._dead.rows

    def step(self) -> int:
        """Fold and join the next slice, and build the next part of what is being built; how many rows were worked on."""
        if self._offset < self._refill.end:
            count, self._offset = self._refill.step(self._offset)
            return max(1, count)
        rows, end = read_slice(self._platform.log, self.part, self._offset)
        if end != self._offset:
            erased = forgotten(rows, self.erasures) if self.erasures else None
            with self._online.write(durable=False) as writer:
                self.fold.require(writer, self._offset)
                now = self._platform.clock.now_ms() if end > self._progress.end else None
                folded = self.fold.fold(writer, rows, end, now, known=self._known, erased=erased)
                self._join(writer, folded.fresh)
            self._offset = end
            self._offer(folded, end)
        return len(rows) + self._builder.step()

    def flush(self) -> None:
        """Bring what waits into the lake: dead letters and repeated events first, then the first copies."""
        with self._online.read() as view:
            self._online.require(view)
            self._progress.flush(view)
        for sink in (self._dead, self._repeated, self._fresh):
            sink.flush()
        self.fold.forget(self._online, self._offset)

    def lag(self) -> Lag:
        """How far the source is behind."""
        unfolded, unsunk = (events_from(self._platform.log, self.part, at) for at in (self._offset, self._fresh.position))
        return Lag(unfolded, unsunk, count_dead(self._platform.lake, self.source.name) if self.part.partition == 0 else 0)

    def sunk(self) -> Sunk:
        """How far the lake has come."""
        stored = self.part.in_log(self._fresh.stored)
        return Sunk(events_topic(self.source.name), stored, self.part.partition)

    def begin_missing(self) -> None:
        """Begin to build the groups that do not stand in some partition: the work of the owner of partition 0."""
        if self.part.partition == 0:
            self.fold.begin_missing(self._online)

    @property
    def recovering(self) -> bool:
        """Whether the lake holds events that are not folded: the store was lost, and is being filled."""
        return self._offset < self._fresh.position

    def _sunk(self, wanted: int) -> int:
        """The offset before which everything is in the lake; flushes when that is not beyond ``wanted``."""
        if self._fresh.position <= wanted < self._offset:
            self.flush()
        return self._fresh.position

    def _recover(self) -> int:
        """Offer what was folded but may not be in the lake; begin to build new groups; the offset to go on from."""
        with self._online.read() as view:
            offset = self.fold.position(view)
            begin = self.fold.unsunk(view)
            if begin is not None:
                self._offer(self.fold.judged(view, read_all(self._platform.log, self.part, begin, offset)), offset)
        self.begin_missing()
        self._progress.restore(self._online, offset)
        self._refill.begin(events_topic(self.source.name), offset, self._fresh.position)
        return offset

    def _join(self, writer: OnlineWriter, fresh: pa.Table) -> None:
        for model in self._labelled:
            join_labels(writer, model, label_rows(model, self.source, fresh))

    def _offer(self, folded: Folded, end: int) -> None:
        self._fresh.offer(folded.fresh, end, folded.fresh.column("_offset"))
        now = self._platform.clock.now_ms()
        if len(folded.repeated):
            reason = f"{self.source.schema.key}: duplicate key"
            rejects: list[tuple[str, object]] = [(reason, row) for row in folded.repeated.to_pylist()]
            self._repeated.offer(quarantined(rejects, "log", now), end, folded.repeated.column("_offset"))
        if len(folded.dead):
            letters = dead_letters(folded.dead, self.source)
            self._dead.offer(letters, end, letters.column("_offset"))

    def _known(self, events: pa.Table) -> npt.NDArray[np.bool_]:
        return known_in_lake(self._platform.lake, self.source, events)


def _app_of(part: SourcePart) -> Callable[[str], str]:
    """Under which name a partition keeps its positions in the lake's tables."""
    return lambda app: f"{app}/{part.partition}" if part.partition else app


def known_in_lake(lake: Lake, source: SourceDef, events: pa.Table) -> npt.NDArray[np.bool_]:
    """Which events have an earlier copy in the lake: one of their key and of their time."""
    topic, key, time = events_topic(source.name), source.schema.key, source.schema.time
    if lake.version(topic) is None:
        return np.zeros(len(events), np.bool_)
    moments = events.column(time).cast(pa.int64())
    low, high = pc.min(moments).as_py(), pc.max(moments).as_py()
    there = lake.read(topic, columns=[key, time, "_offset"], where=[(time, ">=", low), (time, "<=", high)])
    ours, theirs = codes_of([events.column(key), events.column(time)], [there.column(key), there.column(time)])
    first = np.full(max(ours.max(initial=0), theirs.max(initial=0)) + 1, 2**62)
    np.minimum.at(first, theirs, there.column("_offset").to_numpy())
    return first[ours] < events.column("_offset").to_numpy()
