"""The logbook: receipts of predictions, kept on this machine before an answer goes out, and then brought into the log.

A receipt is written to a segment, a file in the system's cache, by who made the prediction: from then on the death of this
process does not lose it. A thread brings what is written into the log; another one brings to the disk, every `SYNC_S`, what
the log has not taken yet: a crash of the machine loses what is younger than that and the sync. Segments of processes
that died are taken over, also while this one runs.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from skyloom.kernel.clock import Clock
from skyloom.kernel.records.prediction import Receipt
from skyloom.kernel.sticky import BUCKETS
from skyloom.ports import Log
from skyloom.serving.logbook.forwarder import Forwarder
from skyloom.serving.logbook.journal import Journal
from skyloom.serving.logbook.policy import Policy
from skyloom.serving.metrics import Metrics

_log = logging.getLogger("skyloom.serving")

GATHER_S = 0.02
"""How long the first receipt of a batch waits for others."""
SYNC_S = 0.1
LEFT_S = 5.0
"""How often it is looked for segments of processes that died."""
_LEFT_BATCHES = 20
_REST_S = 0.2
_LOOK_S = 0.002


UNLOGGED = "predictions cannot be logged now, and this model makes none without a receipt"
"""What a refused request is told."""


class Sealed(NamedTuple):
    """Receipts of one model: ``encode`` gives ``rows`` of them as MessagePack, one after the other."""

    rows: int
    encode: Callable[[], bytes | memoryview]


class Room(msgspec.Struct, frozen=True):
    """How much waits for the log at most, in bytes of one process (what processes that died have left counts too), and how
    much one segment holds."""

    waiting: int = 10**9
    segment: int = 8 << 20


class Logbook:
    """Safe for threads. ``folder`` is shared by all serving processes of a project."""

    def __init__(self, log: Log, clock: Clock, metrics: Metrics, folder: Path, *, secret: bytes, room: Room) -> None:
        self._metrics, self._folder, self._secret, self._room = metrics, folder, secret, room
        self._forwarder = Forwarder(log, clock, metrics)
        self._encoder = msgspec.msgpack.Encoder()
        self._journal: Journal | None = None
        self._left: list[Journal] = []
        self._beginning = threading.Lock()
        self._begin_again = self._look_again = 0.0
        self._arrived = threading.Event()
        self._hurried = threading.Event()
        self._stopped = threading.Event()
        self._failed: str | None = None
        metrics.logbook_queue.set_function(self._rows)
        metrics.logbook_bytes.set_function(self._bytes)
        metrics.logbook_oldest.set_function(self._age)
        self._thread = threading.Thread(target=self._run, name="logbook", daemon=True)
        self._syncing = threading.Thread(target=self._sync, name="logbook-sync", daemon=True)

    def start(self) -> None:
        """Begin to write; first what processes that died have left."""
        self._begun()
        self._thread.start()
        self._syncing.start()

    def refuses(self, policy: Policy) -> bool:
        """Whether predictions must not be made, because their receipts could not be kept."""
        return policy.refuse and policy.share > 0 and self._without_room() is not None

    def add(self, policy: Policy, receipts: Sequence[Receipt]) -> bool:
        """Keep receipts of one model as its policy says. ``False``: they could not be kept, and are counted as dropped."""
        if policy.share < BUCKETS:
            receipts = [receipt for receipt in receipts if policy.keeps(receipt.key)]
        if policy.columns:
            receipts = [policy.redacted(receipt, self._secret) for receipt in receipts]
        if not receipts:
            return True
        encode, count = self._encoder.encode, len(receipts)
        payload = encode(receipts[0]) if count == 1 else b"".join([encode(receipt) for receipt in receipts])
        return self._keep(policy, count, payload)

    def seal(self, policy: Policy, batch: Sealed) -> bool:
        """Keep receipts that are sampled and redacted already."""
        return not batch.rows or self._keep(policy, batch.rows, batch.encode())

    @property
    def secret(self) -> bytes:
        """The key of hashes that stand for values."""
        return self._secret

    def settle(self, within_s: float) -> bool:
        """Wait until what this process keeps is in the log, for a process that may be frozen; whether it is."""
        deadline = time.monotonic() + within_s
        self._hurried.set()
        try:
            while self._journal is not None and self._journal.rows:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_LOOK_S)
            return True
        finally:
            if not self._stopped.is_set():
                self._hurried.clear()

    def close(self, within_s: float) -> bool:
        """Write what is there and end; whether all of it is in the log. The rest stays for the next process."""
        self._forwarder.give_up = time.monotonic() + within_s
        self._forwarder.stop.set()
        self._stopped.set()
        self._hurried.set()
        self._arrived.set()
        if self._thread.is_alive():
            self._thread.join(within_s + 1.0)
            self._syncing.join(1.0)
        rows = 0 if self._journal is None else self._journal.rows
        if rows:
            _log.error("%d receipts could not be logged before the end; they wait in %s", rows, self._folder)
        if not self._thread.is_alive():
            for journal in (*self._left, *([self._journal] if self._journal else [])):
                journal.close()
        return not rows

    def _keep(self, policy: Policy, count: int, payload: bytes | memoryview) -> bool:
        reason = self._without_room()
        if reason is None:
            journal = self._journal
            if journal is not None and journal.write(policy.name, count, time.time_ns() // 1_000_000, payload):
                if not self._arrived.is_set():
                    self._arrived.set()
                return True
            reason = "disk"
        self._metrics.logbook_dropped.labels(reason).inc(count)
        return False

    def _without_room(self) -> str | None:
        """Why receipts cannot be kept now: the limit, or the disk."""
        journal = self._journal or self._begun()
        if journal is None or journal.blocked():
            return "disk"
        waits = self._bytes() if self._left else journal.bytes
        return "limit" if waits >= self._room.waiting else None

    def _begun(self) -> Journal | None:
        """The journal, begun if it is not there and the disk was not asked a moment ago."""
        with self._beginning:
            if self._journal is None and time.monotonic() >= self._begin_again:
                try:
                    self._journal = Journal.begin(self._folder, self._room.segment)
                except OSError as error:
                    self._begin_again = time.monotonic() + _REST_S
                    _log.error("%s cannot hold receipts: %s", self._folder, error.strerror)
            return self._journal

    def _run(self) -> None:
        while True:
            try:
                self._turns()
            except Exception:  # noqa: BLE001  # the edge of this thread: whatever a file holds, others are to be logged
                self._metrics.logbook_failures.inc()
                _log.exception("the logbook stumbled, and goes on")
                if self._stopped.wait(_REST_S):
                    return
            else:
                return

    def _turns(self) -> None:
        while True:
            self._take_over()
            self._arrived.wait(LEFT_S if not self._left else 0.0)
            self._hurried.wait(GATHER_S)
            self._arrived.clear()
            if self._journal is not None and not self._forwarder.forward(self._journal):
                return
            if self._stopped.is_set() and (self._journal is None or not self._journal.rows):
                return
            self._forward_left()

    def _take_over(self) -> None:
        if time.monotonic() < self._look_again or self._stopped.is_set():
            return
        self._look_again = time.monotonic() + LEFT_S
        try:
            self._left += Journal.left(self._folder, self._room.segment)
        except OSError as error:
            _log.error("what other processes have left in %s cannot be read: %s", self._folder, error)

    def _forward_left(self) -> None:
        """Some of what others have left: new receipts are not to wait for all of it."""
        if not self._left:
            return
        journal = self._left[0]
        if self._forwarder.forward(journal, _LEFT_BATCHES) and not journal.bytes:
            journal.close()
            del self._left[0]

    def _sync(self) -> None:
        while not self._stopped.wait(SYNC_S):
            if self._journal is not None:
                try:
                    self._journal.sync()
                except OSError as error:
                    _log.error("%s cannot be brought to the disk: %s", self._folder, error)

    def _journals(self) -> list[Journal]:
        return [*self._left, *([] if self._journal is None else [self._journal])]

    def _rows(self) -> int:
        return sum(journal.rows for journal in self._journals())

    def _bytes(self) -> int:
        return sum([journal.bytes for journal in self._journals()])

    def _age(self) -> float:
        written = [at_ms for journal in self._journals() if (at_ms := journal.oldest_ms()) is not None]
        return max(time.time() - min(written) / 1_000, 0.0) if written else 0.0
