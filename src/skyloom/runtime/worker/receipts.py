"""The receipts of a model: joined with labels, sunk into the lake."""

from collections.abc import Sequence

from skyloom.ingest.partitions import SourcePart
from skyloom.ingest.receipts import decode_receipts, receipts_table
from skyloom.ingest.sink import TableSink, rows_from
from skyloom.kernel.records.definitions import ModelDef
from skyloom.kernel.records.prediction import predictions_topic
from skyloom.monitoring.outcomes import join_predictions, read_position, write_position
from skyloom.platform import Platform
from skyloom.ports.log import LogBatch
from skyloom.ports.online import OnlineStore
from skyloom.runtime.worker.expiry import Expiry
from skyloom.runtime.worker.lag import Lag
from skyloom.runtime.worker.lost_receipts import LostReceipts
from skyloom.runtime.worker.retention import Sunk


class ReceiptsLine:
    """One model: its receipts joined with labels and sunk."""

    def __init__(self, platform: Platform, online: OnlineStore, model: ModelDef, labels: Sequence[SourcePart]) -> None:
        self._platform, self._online, self._model = platform, online, model
        self._expiry = Expiry(platform.log, model, labels)
        self._topic = predictions_topic(model.name)
        self._sink = TableSink(platform.lake, self._topic)
        self._lost = LostReceipts(platform, online, model)
        with online.read() as view:
            self._offset = read_position(view, self._topic)
        self._reread()

    @property
    def waiting(self) -> int:
        """Rows that wait for the lake."""
        return self._sink.rows

    def step(self) -> int:
        """Join the next receipts with their labels, and forget what has waited too long; how many receipts."""
        if self._lost.lost:
            return self._fill()
        batches = self._platform.log.read(self._topic, self._offset)
        if not batches:
            self._sweep()
            return 0
        receipts = decode_receipts(batches)
        # time passes as the data says: a replay of old requests must not outlive its own labels
        newest = max(receipt.at_ms for receipt in receipts)
        self._expiry.passed(min(newest, self._platform.clock.now_ms()))
        with self._online.write(durable=False) as writer:
            join_predictions(writer, self._model, receipts)
            self._expiry.sweep(writer)
            write_position(writer, self._topic, batches[-1].end)
        self._offset = batches[-1].end
        self._offer(batches)
        return len(receipts)

    def flush(self) -> None:
        """Bring what waits into the lake."""
        self._sink.flush()

    def lag(self) -> Lag:
        """How far the topic is behind."""
        log = self._platform.log
        return Lag(rows_from(log, self._topic, self._offset), rows_from(log, self._topic, self._sink.position))

    def sunk(self) -> Sunk:
        """How far the lake has come."""
        return Sunk(self._topic, self._sink.stored)

    def _sweep(self) -> None:
        with self._online.read() as view:
            due = self._expiry.is_due(view)
        if due:
            with self._online.write(durable=False) as writer:
                self._expiry.sweep(writer)

    def _fill(self) -> int:
        count = self._lost.step()
        with self._online.read() as view:
            self._offset = read_position(view, self._topic)
        return count

    def _reread(self) -> None:
        """Offer the receipts that were joined but not sunk."""
        at = self._sink.position
        while at < self._offset:
            batches = [batch for batch in self._platform.log.read(self._topic, at) if batch.first < self._offset]
            if not batches:
                break
            at = batches[-1].end
            self._offer(batches)

    def _offer(self, batches: Sequence[LogBatch]) -> None:
        """Let the lake have them, unless it has them: an online store that was lost is filled from the beginning."""
        new = [batch for batch in batches if batch.end > self._sink.position]
        if new:
            self._sink.offer(receipts_table(decode_receipts(new)), new[-1].end)
