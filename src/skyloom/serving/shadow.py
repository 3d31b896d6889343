"""Shadow versions: they see what the champion sees, aside, and nobody waits for them."""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from skyloom.kernel.ids import new_id
from skyloom.kernel.records.prediction import Receipt
from skyloom.serving.loaded import LoadedArm
from skyloom.serving.logbook import Logbook, Policy
from skyloom.serving.metrics import Metrics
from skyloom.serving.scoring import score_rows

_log = logging.getLogger("skyloom.serving")


class Copy(NamedTuple):
    """Predictions that were answered, to be made again by ``arms``."""

    arms: tuple[LoadedArm, ...]
    receipts: Sequence[Receipt]
    policy: Policy


class Shadow:
    """A bounded queue and the thread that scores its copies. What finds it full is dropped and counted. Its receipts keep
    the request, the unit and the inputs, with the shadow's own id, version and score. Safe for threads."""

    def __init__(self, logbook: Logbook, metrics: Metrics, capacity: int) -> None:
        self._logbook, self._metrics = logbook, metrics
        self._copies: queue.Queue[Copy] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to score."""
        self._thread.start()

    def offer(self, arms: tuple[LoadedArm, ...], receipts: Sequence[Receipt], policy: Policy) -> None:
        """Let ``arms`` score what was answered, when there is time."""
        try:
            self._copies.put_nowait(Copy(arms, receipts, policy))
        except queue.Full:
            self._metrics.shadow_dropped.inc(len(receipts) * len(arms))

    def _run(self) -> None:
        while True:
            copy = self._copies.get()
            for arm in copy.arms:
                self._logbook.add(copy.policy, self._score(arm, copy.receipts))

    def _score(self, arm: LoadedArm, receipts: Sequence[Receipt]) -> list[Receipt]:
        started = time.perf_counter()
        scored = score_rows(arm, [each.inputs for each in receipts])
        latency_ms = (time.perf_counter() - started) * 1_000
        self._metrics.predictions.labels(receipts[0].model, arm.arm.version, "shadow").inc(len(receipts))
        broken = sum(error is not None for _, error in scored)
        if broken:
            self._metrics.model_errors.labels(receipts[0].model, arm.arm.version, "shadow").inc(broken)
        return [
            msgspec.structs.replace(
                receipt,
                id=new_id("p"),
                version=arm.arm.version,
                arm="shadow",
                score=score,
                error=error,
                latency_ms=latency_ms,
            )
            for receipt, (score, error) in zip(receipts, scored, strict=True)
        ]
