"""One source: its log folded into features and labels, what it was found to be sunk into the lake, its groups built."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.features.fold import Folded, SourceFold
from skyloom.ingest.contract import quarantined
from skyloom.ingest.deadletter import count_dead, dead_letter_table, dead_letters
from skyloom.ingest.sink import TableSink, events_topic, read_all, read_slice, rows_from
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
    """One source of a project. What is folded, joined and found out moves in one transaction; the lake follows."""

    def __init__(self, platform: Platform, online: Fenced, source: SourceDef, project: ProjectDef) -> None:
        self._platform, self._online = platform, online
        self.source = source
        self._labelled = [model for model in project.models.values() if model.label.source == source.name]
        groups = [group for group in project.groups.values() if group.source == source.name]
        self.fold = SourceFold(source, groups, horizon_of(project, source.name))
        self.erasures: list[Erasure] = []
        lake, topic = platform.lake, events_topic(source.name)
        self._fresh = TableSink(lake, topic)
        self._repeated = TableSink(lake, f"quarantine/{source.name}", _REPEATED)
        self._dead = TableSink(lake, dead_letter_table(source.name))
        self._progress = ProgressTable(lake, source)
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
        rows, end = read_slice(self._platform.log, self.source, self._offset)
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
        log, topic = self._platform.log, events_topic(self.source.name)
        unfolded, unsunk = (rows_from(log, topic, at) for at in (self._offset, self._fresh.position))
        return Lag(unfolded, unsunk, count_dead(self._platform.lake, self.source.name))

    def sunk(self) -> Sunk:
        """How far the lake has come."""
        return Sunk(events_topic(self.source.name), self._fresh.stored)

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
                self._offer(self.fold.judged(view, read_all(self._platform.log, self.source, begin, offset)), offset)
        self.fold.begin_missing(self._online)
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


def known_in_lake(lake: Lake, source: SourceDef, events: pa.Table) -> npt.NDArray[np.bool_]:
    """Which events have, at their own time, an earlier copy in the lake."""
    topic, key, time = events_topic(source.name), source.schema.key, source.schema.time
    if lake.version(topic) is None:
        return np.zeros(len(events), np.bool_)
    moments = events.column(time).cast(pa.int64())
    low, high = pc.min(moments).as_py(), pc.max(moments).as_py()
    there = lake.read(topic, columns=[key, "_offset"], where=[(time, ">=", low), (time, "<=", high)])
    if len(there) == 0:
        return np.zeros(len(events), np.bool_)
    there = there.sort_by("_offset")
    at = pc.index_in(events.column(key), value_set=there.column(key).combine_chunks())
    first = pc.fill_null(pc.take(there.column("_offset"), at), 2**62)
    return pc.less(first, events.column("_offset")).to_numpy()
