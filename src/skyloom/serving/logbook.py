"""The logbook: receipts of predictions on their way into the log, without any request waiting for it.

A receipt is promised once its append returned; what the process holds in memory when it is killed (the last few
hundredths of a second, more while the log cannot be written) is lost. A drained process loses none.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from itertools import islice

import msgspec

from skyloom.kernel.clock import Clock
from skyloom.kernel.records.prediction import Receipt, predictions_topic
from skyloom.ports import Log, NewBatch
from skyloom.serving.metrics import Metrics

_log = logging.getLogger("skyloom.serving")

GATHER_S = 0.02
"""How long the first receipt of a batch waits for others."""
BATCH = 2_000
_LONGEST_PAUSE_S = 0.5


class WhenFull(StrEnum):
    """What happens when receipts come faster than the log takes them: they are dropped and counted, or requests refused."""

    DROP = "drop"
    REFUSE = "refuse"


class Logbook:
    """A bounded queue and the thread that empties it, in order, one append at a time. Safe for threads."""

    def __init__(self, log: Log, clock: Clock, metrics: Metrics, when_full: WhenFull, capacity: int) -> None:
        self._log, self._clock, self._metrics = log, clock, metrics
        self._when_full, self._capacity = when_full, capacity
        self._waiting: deque[Receipt] = deque()
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._give_up = float("inf")
        self._encoder = msgspec.msgpack.Encoder()
        metrics.logbook_queue.set_function(lambda: len(self._waiting))
        self._thread = threading.Thread(target=self._run, name="logbook", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def refuses(self, count: int) -> bool:
        """Whether ``count`` more predictions must not be made, because their receipts could not be kept."""
        return self._when_full is WhenFull.REFUSE and len(self._waiting) + count > self._capacity

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Take receipts; those that find the queue full are dropped and counted."""
        room = self._capacity - len(self._waiting)
        self._waiting.extend(receipts[: max(room, 0)])
        if len(receipts) > room:
            self._metrics.logbook_dropped.inc(len(receipts) - max(room, 0))
        if not self._arrived.is_set():
            self._arrived.set()

    def close(self, within_s: float) -> bool:
        """Write what is there and end; whether all of it was written within the time."""
        self._give_up = time.monotonic() + within_s
        self._stop.set()
        self._arrived.set()
        self._thread.join(within_s + 1.0)
        if self._waiting:
            _log.error("%d receipts could not be logged before the end", len(self._waiting))
        return not self._waiting

    def _run(self) -> None:
        while not (self._stop.is_set() and not self._waiting):
            self._arrived.wait()
            self._stop.wait(GATHER_S)
            self._arrived.clear()
            while self._waiting:
                if not self._write(list(islice(self._waiting, BATCH))):
                    return

    def _write(self, batch: list[Receipt]) -> bool:
        """Append a batch, however often that takes; whether it was done before it was time to give up."""
        by_model: dict[str, list[Receipt]] = {}
        for receipt in batch:
            by_model.setdefault(receipt.model, []).append(receipt)
        for model, receipts in by_model.items():
            if not self._append(predictions_topic(model), receipts):
                return False
        for _ in batch:
            self._waiting.popleft()
        self._metrics.logbook_written.inc(len(batch))
        return True

    def _append(self, topic: str, receipts: list[Receipt]) -> bool:
        payload, pause = self._encoder.encode(receipts), GATHER_S
        while True:
            try:
                self._log.append(topic, [NewBatch(len(receipts), self._clock.now_ms(), False, payload)])
            except Exception as error:  # noqa: BLE001  # the edge of this thread: whatever a log raises, receipts are kept
                self._metrics.logbook_failures.inc()
                _log.warning("%s cannot be written, trying again: %s", topic, error)
            else:
                return True
            if time.monotonic() + pause > self._give_up:
                return False
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
