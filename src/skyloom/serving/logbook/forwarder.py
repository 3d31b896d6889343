"""From a journal into the log: in order, as often as it takes, and nothing twice.

An append that failed, and one that a process died of, is in doubt: what it held is looked for in the log, by the ids of the
receipts, from an offset on that was the end of the topic before; only what is not there is appended.
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from skyloom.kernel.clock import Clock
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.prediction import predictions_topic
from skyloom.ports import Log, NewBatch
from skyloom.serving.logbook.frames import Damage, Frame
from skyloom.serving.logbook.journal import Batch, Journal
from skyloom.serving.metrics import Metrics

_log = logging.getLogger("skyloom.serving")

BATCH_ROWS = 2_000
BATCH_BYTES = 4 << 20
_SHORTEST_S, _LONGEST_S = 0.02, 0.5
_FRESH_S = 1.0

Payload = tuple[int, Sequence[bytes]]
"""So many receipts, as MessagePack, one after the other, in pieces."""


class _Named(msgspec.Struct):
    id: str


_IDS = msgspec.msgpack.Decoder(list[_Named])
_ROWS = msgspec.msgpack.Decoder(list[msgspec.Raw])


class Forwarder:
    """Belongs to one thread. ``stop`` ends waiting: an append that fails after that is not tried again beyond ``give_up``
    (a moment of `time.monotonic`)."""

    def __init__(self, log: Log, clock: Clock, metrics: Metrics) -> None:
        self._log, self._clock, self._metrics = log, clock, metrics
        self._ends: dict[str, tuple[int, float]] = {}
        self._there: dict[tuple[int, str], set[str]] = {}
        self.stop = threading.Event()
        self.give_up = float("inf")

    def forward(self, journal: Journal, most: int | None = None) -> bool:
        """Bring what waits into the log, at most ``most`` batches of it; ``False`` when it was time to give up before."""
        count = 0
        for found in journal.batches(BATCH_ROWS, BATCH_BYTES):
            if isinstance(found, Batch):
                if not self._take(journal, found):
                    return False
            else:
                segment, damage = found
                self._report(journal, damage, str(segment.path))
                journal.set_aside(segment, damage)
                journal.done(segment, damage.end, 0)
            count += 1
            if count == most:
                return True
        if count:
            journal.rest()
        self._there.clear()
        return True

    def _take(self, journal: Journal, batch: Batch) -> bool:
        """Append one batch, however often that takes."""
        pause, doubtful = _SHORTEST_S, batch.doubtful
        parts = _by_model(batch.frames)
        while True:
            try:
                if not doubtful:
                    journal.depart(batch, journal.since | {topic: self._end(topic) for topic in parts})
                self._append_all(journal, parts, doubtful=doubtful)
            except Exception as error:  # noqa: BLE001  # the edge of this thread: whatever a log raises, receipts are kept
                doubtful = doubtful or journal.away(batch)
                self._there.clear()
                self._failed(error)
            else:
                return self._arrived(journal, batch)
            if time.monotonic() + pause > self.give_up:
                return False
            self.stop.wait(pause) if self.give_up == float("inf") else time.sleep(pause)
            pause = min(pause * 2, _LONGEST_S)

    def _arrived(self, journal: Journal, batch: Batch) -> bool:
        rows = sum(frame.rows for frame in batch.frames)
        journal.done(batch.segment, batch.end, rows)
        self._metrics.logbook_written.inc(rows)
        if not batch.doubtful:
            self._there.clear()
        return True

    def _append_all(self, journal: Journal, parts: dict[str, Payload], *, doubtful: bool) -> None:
        """Append every part, or if it may be there already what is not; those that arrived leave ``parts``."""
        for topic, payload in list(parts.items()):
            left = self._missing(journal, topic, payload) if doubtful else payload
            if left is not None:
                self._append(topic, left)
            del parts[topic]

    def _end(self, topic: str) -> int:
        """An offset at or before the end of a topic, not older than a moment."""
        known, at = self._ends.get(topic, (0, float("-inf")))
        now = time.monotonic()
        if now - at > _FRESH_S:
            known = self._log.end(topic)
            self._ends[topic] = known, now
        return known

    def _append(self, topic: str, payload: Payload) -> None:
        count, rows = payload
        try:
            self._log.append(topic, [NewBatch(count, self._clock.now_ms(), False, listed(count, *rows))])
        except DataError as error:
            self._append_in_halves(topic, payload, error)

    def _append_in_halves(self, topic: str, payload: Payload, refusal: DataError) -> None:
        """What can never be appended at once; a receipt that cannot be appended alone is counted and left out."""
        count, rows = payload
        if count == 1:
            self._metrics.logbook_dropped.labels("refused").inc()
            _log.error("a receipt of %d bytes is dropped: %s", sum(map(len, rows)), refusal)
            return
        one_by_one = [bytes(row) for row in _ROWS.decode(listed(count, *rows))]
        for half in (one_by_one[: count // 2], one_by_one[count // 2 :]):
            self._append(topic, (len(half), half))

    def _missing(self, journal: Journal, topic: str, payload: Payload) -> Payload | None:
        """The receipts that the log does not hold since the journal's mark; ``None`` when it holds all."""
        there = self._there.get((id(journal), topic))
        if there is None:
            there = self._there[id(journal), topic] = self._ids_from(topic, journal.since.get(topic, 0))
        count, rows = payload
        whole = listed(count, *rows)
        ids = [each.id for each in _IDS.decode(whole)]
        kept = [bytes(row) for id, row in zip(ids, _ROWS.decode(whole), strict=True) if id not in there]
        return (len(kept), kept) if kept else None

    def _ids_from(self, topic: str, offset: int) -> set[str]:
        ids: set[str] = set()
        while batches := self._log.read(topic, offset):
            for batch in batches:
                with suppress(msgspec.DecodeError):  # what cannot be read holds none of ours
                    ids.update(each.id for each in _IDS.decode(batch.payload))
            offset = batches[-1].end
        return ids

    def _failed(self, error: Exception) -> None:
        self._metrics.logbook_failures.inc()
        _log.warning("receipts cannot be written, trying again: %s", error)

    def _report(self, journal: Journal, damage: Damage, path: str) -> None:
        self._metrics.logbook_damaged.labels("torn" if damage.torn else "damaged").inc()
        _log.error(
            "%s: the bytes %d to %d are no receipts (%s); they are set aside beside %s",
            path, damage.start, damage.end, "the end was torn off" if damage.torn else "damaged", journal.folder,
        )  # fmt: skip


def listed(count: int, *rows: bytes) -> bytes:
    """So many values of MessagePack, one after the other in ``rows``, as one list of them.

    >>> listed(2, b"\\x01\\x02")
    b'\\x92\\x01\\x02'
    """
    return b"".join((_list_head(count), *rows))


def _list_head(count: int) -> bytes:
    if count < 16:
        return bytes([0x90 | count])
    return b"\xdc" + count.to_bytes(2, "big") if count < 1 << 16 else b"\xdd" + count.to_bytes(4, "big")


def _by_model(frames: Sequence[Frame]) -> dict[str, Payload]:
    """Topic -> its receipts."""
    by_model: dict[str, list[Frame]] = {}
    for frame in frames:
        by_model.setdefault(frame.model, []).append(frame)
    return {
        predictions_topic(model): (sum(each.rows for each in found), [each.payload for each in found])
        for model, found in by_model.items()
    }
