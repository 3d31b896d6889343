"""The receipts of a model: joined with labels, sunk into the lake."""

from collections.abc import Sequence

from skyloom.ingest.receipts import decode_receipts, predictions_topic, receipts_table
from skyloom.ingest.sink import TableSink
from skyloom.kernel.records.definitions import ModelDef
from skyloom.monitoring.outcomes import join_predictions, read_position, sweep_expired, write_position
from skyloom.platform import Platform
from skyloom.ports.log import LogBatch
from skyloom.ports.online import OnlineStore
from skyloom.runtime.worker.lag import Lag


class ReceiptsLine:
    """One model: its receipts joined with labels and sunk."""

    def __init__(self, platform: Platform, online: OnlineStore, model: ModelDef) -> None:
        self._platform, self._online, self._model = platform, online, model
        self._topic = predictions_topic(model.name)
        self._sink = TableSink(platform.lake, self._topic)
        with online.read() as view:
            self._offset = read_position(view, self._topic)
        self._reread()

    @property
    def waiting(self) -> int:
        """Rows that wait for the lake."""
        return self._sink.rows

    def step(self) -> int:
        """Join the next receipts with their labels; how many."""
        batches = self._platform.log.read(self._topic, self._offset)
        if not batches:
            return 0
        receipts = decode_receipts(batches)
        with self._online.write(durable=False) as writer:
            join_predictions(writer, self._model, receipts)
            # time passes as the data says: a replay of old requests must not outlive its own labels
            newest = max(receipt.at_ms for receipt in receipts)
            sweep_expired(writer, self._model, min(newest, self._platform.clock.now_ms()))
            write_position(writer, self._topic, batches[-1].end)
        self._offset = batches[-1].end
        self._offer(batches)
        return len(receipts)

    def flush(self) -> None:
        """Bring what waits into the lake."""
        self._sink.flush()

    def lag(self) -> Lag:
        """How far the topic is behind."""
        end = self._platform.log.end(self._topic)
        return Lag(end - self._offset, end - self._sink.position)

    def _reread(self) -> None:
        """Offer the receipts that were joined but not sunk."""
        at = self._sink.position
        while at < self._offset:
            batches = [batch for batch in self._platform.log.read(self._topic, at) if batch.first < self._offset]
            at = batches[-1].end
            self._offer(batches)

    def _offer(self, batches: Sequence[LogBatch]) -> None:
        """Let the lake have them, unless it has them: an online store that was lost is filled from the beginning."""
        new = [batch for batch in batches if batch.end > self._sink.position]
        if new:
            self._sink.offer(receipts_table(decode_receipts(new)), new[-1].end)
