"""What the way in refused, from the log into the lake."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from skyloom.ingest.contract import REJECTED
from skyloom.ingest.sink import TableSink, rows_from
from skyloom.platform import Platform
from skyloom.runtime.worker.lag import Lag
from skyloom.runtime.worker.retention import Sunk


class QuarantineLine:
    """The refused rows of one source, sunk."""

    def __init__(self, platform: Platform, source: str) -> None:
        self._platform = platform
        self._topic = f"quarantine/{source}"
        self._sink = TableSink(platform.lake, self._topic)
        self._offset = self._sink.position

    @property
    def waiting(self) -> int:
        """Rows that wait for the lake."""
        return self._sink.rows

    def step(self) -> int:
        """Take the next rows; how many."""
        batches = self._platform.log.read(self._topic, self._offset)
        if not batches:
            return 0
        rows: list[Any] = [row for batch in batches for row in msgspec.msgpack.decode(batch.payload)]
        self._offset = batches[-1].end
        self._sink.offer(_table(rows), self._offset)
        return len(rows)

    def drain(self) -> None:
        """Bring all that was refused until now into the lake."""
        while self.step():
            pass
        self.flush()

    def flush(self) -> None:
        """Bring what waits into the lake."""
        self._sink.flush()

    def sunk(self) -> Sunk:
        """How far the lake has come."""
        return Sunk(self._topic, self._sink.stored)

    def lag(self) -> Lag:
        """How far the topic is behind."""
        log = self._platform.log
        return Lag(rows_from(log, self._topic, self._offset), rows_from(log, self._topic, self._sink.position))


def _table(rows: Sequence[tuple[str, str, str, int]]) -> pa.Table:
    reasons, texts, origins, moments = zip(*rows, strict=True)
    columns = (reasons, texts, origins, moments)
    return pa.table([pa.array(list(c), f.type) for c, f in zip(columns, REJECTED, strict=True)], REJECTED)
