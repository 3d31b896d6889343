"""The stream worker: the log folded into features, joined with labels, and sunk into the lake."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from skyloom.features.columns import milliseconds
from skyloom.features.dataset import read_events
from skyloom.features.fold import SourceFold
from skyloom.ingest.contract import REJECTED, quarantined
from skyloom.ingest.receipts import decode_receipts, predictions_topic, receipts_table
from skyloom.ingest.sink import TableSink, events_topic, read_all, read_slice
from skyloom.kernel.columns import evaluate_columns
from skyloom.kernel.records.definitions import ModelDef, ProjectDef, SourceDef
from skyloom.monitoring.outcomes import join_labels, join_predictions, read_position, sweep_expired, write_position
from skyloom.platform import Platform
from skyloom.ports.online import OnlineWriter

MAX_WAITING = 50_000
"""Rows that wait for the lake before they are flushed for their number."""

MAX_AGE_S = 5.0
"""How long rows wait for the lake."""


class Lag(msgspec.Struct, frozen=True):
    """How far a topic is behind: rows not yet folded or joined, rows not yet in the lake."""

    unfolded: int
    unsunk: int


class _SourceLine:
    """One source: its log folded into features and labels; its first copies sunk."""

    def __init__(self, platform: Platform, source: SourceDef, project: ProjectDef) -> None:
        self._platform = platform
        self._source = source
        self._labelled = [model for model in project.models.values() if model.label.source == source.name]
        groups = [group for group in project.groups.values() if group.source == source.name]
        self._fold = SourceFold(source, groups)
        self.sink = TableSink(platform.lake, events_topic(source.name))
        self._repeated: list[pa.Table] = []
        self._offset = self._catch_up()

    def step(self) -> int:
        """Fold and join the next slice; how many rows it had."""
        rows, end = read_slice(self._platform.log, self._source, self._offset)
        if end == self._offset:
            return 0
        with self._platform.online.write(durable=False) as writer:
            folded = self._fold.fold(writer, rows, end, self._platform.clock.now_ms())
            self._join_labels(writer, folded.fresh)
        if len(folded.repeated):
            self._repeated.append(folded.repeated)
        self.sink.offer(folded.fresh, end)
        self._offset = end
        return len(rows)

    def lag(self) -> Lag:
        end = self._platform.log.end(events_topic(self._source.name))
        return Lag(end - self._offset, end - self.sink.position)

    def _catch_up(self) -> int:
        """Offer what was folded but not sunk, and build the groups that are new; the offset to go on from."""
        platform, source = self._platform, self._source
        with platform.online.write(durable=False) as writer:
            offset = self._fold.position(writer)
            tail = read_all(platform.log, source, self.sink.position, offset)
            tail = self._fold.first_copies(writer, tail)
            for group in self._fold.missing(writer) if offset else []:
                history = pa.concat_tables([read_events(platform.lake, source), tail])
                self._fold.build(writer, group, history)
        if offset > self.sink.position:
            self.sink.offer(tail, offset)
        return offset

    def _join_labels(self, writer: OnlineWriter, fresh: pa.Table) -> None:
        for model in self._labelled:
            join_labels(writer, model, label_rows(model, self._source, fresh))

    def flush(self) -> None:
        """Bring what waits into the lake, repeated events into quarantine."""
        if self._repeated:
            reason = f"{self._source.schema.key}: duplicate key"
            rejects: list[tuple[str, object]] = [(reason, row) for row in pa.concat_tables(self._repeated).to_pylist()]
            now = self._platform.clock.now_ms()
            self._platform.lake.append(f"quarantine/{self._source.name}", quarantined(rejects, "log", now))
            self._repeated.clear()
        self.sink.flush()


class _ModelLine:
    """One model: its receipts joined with labels and sunk."""

    def __init__(self, platform: Platform, model: ModelDef) -> None:
        self._platform = platform
        self._model = model
        self._topic = predictions_topic(model.name)
        self.sink = TableSink(platform.lake, self._topic)
        with platform.online.read() as view:
            self._offset = read_position(view, self._topic)
        self._reread()

    def step(self) -> int:
        """Join the next receipts with their labels; how many."""
        batches = self._platform.log.read(self._topic, self._offset)
        if not batches:
            return 0
        receipts = decode_receipts(batches)
        with self._platform.online.write(durable=False) as writer:
            join_predictions(writer, self._model, receipts)
            # time passes as the data says: a replay of old requests must not outlive its own labels
            newest = max(receipt.at_ms for receipt in receipts)
            sweep_expired(writer, self._model, min(newest, self._platform.clock.now_ms()))
            write_position(writer, self._topic, batches[-1].end)
        self._offset = batches[-1].end
        self.sink.offer(receipts_table(receipts), self._offset)
        return len(receipts)

    def lag(self) -> Lag:
        end = self._platform.log.end(self._topic)
        return Lag(end - self._offset, end - self.sink.position)

    def flush(self) -> None:
        """Bring what waits into the lake."""
        self.sink.flush()

    def _reread(self) -> None:
        """Offer the receipts that were joined but not sunk."""
        at = self.sink.position
        while at < self._offset:
            batches = [batch for batch in self._platform.log.read(self._topic, at) if batch.first < self._offset]
            at = batches[-1].end
            self.sink.offer(receipts_table(decode_receipts(batches)), at)


class _QuarantineLine:
    """What the way in refused, from the log into the lake."""

    def __init__(self, platform: Platform, source: str) -> None:
        self._platform = platform
        self._topic = f"quarantine/{source}"
        self.sink = TableSink(platform.lake, self._topic)
        self._offset = self.sink.position

    def step(self) -> int:
        batches = self._platform.log.read(self._topic, self._offset)
        if not batches:
            return 0
        rows: list[Any] = [row for batch in batches for row in msgspec.msgpack.decode(batch.payload)]
        self._offset = batches[-1].end
        self.sink.offer(_quarantine_table(rows), self._offset)
        return len(rows)

    def flush(self) -> None:
        """Bring what waits into the lake."""
        self.sink.flush()

    def lag(self) -> Lag:
        end = self._platform.log.end(self._topic)
        return Lag(end - self._offset, end - self.sink.position)


def _quarantine_table(rows: Sequence[tuple[str, str, str, int]]) -> pa.Table:
    reasons, texts, origins, moments = zip(*rows, strict=True)
    columns = (reasons, texts, origins, moments)
    return pa.table([pa.array(list(c), f.type) for c, f in zip(columns, REJECTED, strict=True)], REJECTED)


class Worker:
    """Does all of a project's stream work. One at a time owns a project (the caller holds its lock)."""

    def __init__(self, platform: Platform, project: ProjectDef) -> None:
        sources = project.sources.values()
        self._lines = [
            *(_SourceLine(platform, source, project) for source in sources),
            *(_ModelLine(platform, model) for model in project.models.values()),
            *(_QuarantineLine(platform, source.name) for source in sources),
        ]
        self._oldest: float | None = None

    def step(self) -> int:
        """One round over everything; how many rows were worked on."""
        count = sum(line.step() for line in self._lines)
        waiting = sum(line.sink.rows for line in self._lines)
        if waiting and self._oldest is None:
            self._oldest = time.monotonic()
        if waiting > MAX_WAITING or (self._oldest is not None and time.monotonic() - self._oldest > MAX_AGE_S):
            self.flush()
        return count

    def drain(self) -> None:
        """Work until nothing is left, and flush."""
        while self.step():
            pass
        self.flush()

    def flush(self) -> None:
        """Bring everything that waits into the lake."""
        for line in self._lines:
            line.flush()
        self._oldest = None

    def lag(self) -> Lag:
        """How far it is behind, over all topics."""
        lags = [line.lag() for line in self._lines]
        return Lag(sum(lag.unfolded for lag in lags), sum(lag.unsunk for lag in lags))


def label_rows(model: ModelDef, source: SourceDef, events: pa.Table) -> list[tuple[str, float, int]]:
    """(request key, label, time in ms) of events of a model's label source; without those that say nothing."""
    if len(events) == 0:
        return []
    values = evaluate_columns(model.label.value, events).cast(pa.float64()).to_pylist()
    keys = events.column(model.label.on).to_pylist()
    times = milliseconds(events.column(source.schema.time)).tolist()
    rows = zip(keys, values, times, strict=True)
    return [(str(key), value, at) for key, value, at in rows if value is not None and key is not None]
