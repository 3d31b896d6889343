"""The logbook: receipts of predictions on their way into the log, without any request waiting for it.

A receipt is promised once its append returned; what the process holds in memory when it is killed (the last few
hundredths of a second, more while the log cannot be written) is lost. A drained process loses none.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

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


class Sealed(NamedTuple):
    """Receipts of one model that are not made yet: ``encode`` gives ``rows`` of them as MessagePack of a list."""

    model: str
    rows: int
    encode: Callable[[], bytes]


class Logbook:
    """A bounded queue and the thread that empties it, in order, one append at a time. Safe for threads."""

    def __init__(self, log: Log, clock: Clock, metrics: Metrics, when_full: WhenFull, capacity: int) -> None:
        self._log, self._clock, self._metrics = log, clock, metrics
        self._when_full, self._capacity = when_full, capacity
        self._waiting: deque[Receipt | Sealed] = deque()
        self._held = 0  # receipts that wait: a sealed batch counts as many as it has
        self._counting = threading.Lock()
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._give_up = float("inf")
        self._encoder = msgspec.msgpack.Encoder()
        metrics.logbook_queue.set_function(lambda: self._held)
        self._thread = threading.Thread(target=self._run, name="logbook", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def refuses(self, count: int) -> bool:
        """Whether ``count`` more predictions must not be made, because their receipts could not be kept."""
        return self._when_full is WhenFull.REFUSE and self._held + count > self._capacity

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Take receipts; those that find the queue full are dropped and counted."""
        with self._counting:
            taken = receipts[: max(self._capacity - self._held, 0)]
            self._held += len(taken)
        self._take(taken, len(receipts) - len(taken))

    def seal(self, batch: Sealed) -> None:
        """Take a batch, which is encoded by the thread that writes it; one that finds no room is dropped and counted. An
        empty queue has room for any."""
        with self._counting:
            fits = self._held == 0 or self._held + batch.rows <= self._capacity
            self._held += batch.rows if fits else 0
        self._take([batch] if fits else [], 0 if fits else batch.rows)

    def _take(self, taken: Sequence[Receipt | Sealed], dropped: int) -> None:
        self._waiting.extend(taken)
        if dropped:
            self._metrics.logbook_dropped.inc(dropped)
        if not self._arrived.is_set():
            self._arrived.set()

    def close(self, within_s: float) -> bool:
        """Write what is there and end; whether all of it was written within the time."""
        self._give_up = time.monotonic() + within_s
        self._stop.set()
        self._arrived.set()
        self._thread.join(within_s + 1.0)
        if self._waiting:
            _log.error("%d receipts could not be logged before the end", self._held)
        return not self._waiting

    def _run(self) -> None:
        while not (self._stop.is_set() and not self._waiting):
            self._arrived.wait()
            self._stop.wait(GATHER_S)
            self._arrived.clear()
            while self._waiting:
                if not self._write(list(islice(self._waiting, BATCH))):
                    return

    def _write(self, batch: list[Receipt | Sealed]) -> bool:
        """Append a batch, however often that takes; whether it was done before it was time to give up."""
        by_model: dict[str, list[tuple[int, bytes]]] = {}
        for model, receipts in _by_model([each for each in batch if isinstance(each, Receipt)]).items():
            by_model[model] = [(len(receipts), self._encoder.encode(receipts))]
        for each in batch:
            if isinstance(each, Sealed):
                by_model.setdefault(each.model, []).append((each.rows, each.encode()))
        for model, payloads in by_model.items():
            if not self._append(predictions_topic(model), payloads):
                return False
        for _ in batch:
            self._waiting.popleft()
        written = sum(count for payloads in by_model.values() for count, _ in payloads)
        with self._counting:
            self._held -= written
        self._metrics.logbook_written.inc(written)
        return True

    def _append(self, topic: str, payloads: list[tuple[int, bytes]]) -> bool:
        pause = GATHER_S
        while True:
            try:
                now_ms = self._clock.now_ms()
                self._log.append(topic, [NewBatch(count, now_ms, False, payload) for count, payload in payloads])
            except Exception as error:  # noqa: BLE001  # the edge of this thread: whatever a log raises, receipts are kept
                self._metrics.logbook_failures.inc()
                _log.warning("%s cannot be written, trying again: %s", topic, error)
            else:
                return True
            if time.monotonic() + pause > self._give_up:
                return False
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)


def _by_model(receipts: Sequence[Receipt]) -> dict[str, list[Receipt]]:
    by_model: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        by_model.setdefault(receipt.model, []).append(receipt)
    return by_model
