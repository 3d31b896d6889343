"""The receipts that the log no longer holds, joined again from the lake for a store that was lost."""

from skyloom.features.spaces import POSITIONS
from skyloom.ingest.receipts import receipts_from
from skyloom.ingest.sink import APP
from skyloom.kernel.records.definitions import ModelDef
from skyloom.kernel.records.prediction import predictions_topic
from skyloom.monitoring.outcomes import join_predictions, read_position, write_position
from skyloom.platform import Platform
from skyloom.ports.online import OnlineStore, OnlineWriter

_AT_ONCE = 10_000


class LostReceipts:
    """One model. How many were joined is a position of its own, so that a killed worker goes on with the next one; at the
    end the store stands where the lake does."""

    def __init__(self, platform: Platform, online: OnlineStore, model: ModelDef) -> None:
        self._platform, self._online, self._model = platform, online, model
        self._topic = predictions_topic(model.name)
        self._joined = f"refill/{self._topic}"
        with online.read() as view:
            self.lost = read_position(view, self._topic) == 0 and platform.log.start(self._topic) > 0 and self._sunk() > 0

    def step(self) -> int:
        """Join the next ones, in the order in which they were logged; how many, at least 1 while there are some."""
        rows = self._platform.lake.read(self._topic).sort_by([("logged_ms", "ascending"), ("id", "ascending")])
        with self._online.write(durable=False) as writer:
            at = read_position(writer, self._joined)
            receipts = receipts_from(rows.slice(at, _AT_ONCE))
            join_predictions(writer, self._model, receipts)
            write_position(writer, self._joined, at + len(receipts))
            if at + len(receipts) == len(rows):
                self._finish(writer)
        return max(1, len(receipts))

    def _finish(self, writer: OnlineWriter) -> None:
        writer.delete(POSITIONS, self._joined.encode())
        write_position(writer, self._topic, self._sunk())
        self.lost = False

    def _sunk(self) -> int:
        return self._platform.lake.position(self._topic, APP) or 0
