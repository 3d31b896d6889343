"""What a way in refuses, set aside in the log: once, also where a crash makes it refuse the same again."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from skyloom.ports.log import Log, NewBatch

_Row = tuple[str, str, str, int]
_DECODER = msgspec.msgpack.Decoder(list[_Row])


class Reject(NamedTuple):
    """A row that was refused: why, itself as JSON, and where it came from."""

    reason: str
    text: str
    origin: str


class Quarantine:
    """The quarantine of a source, as one way in (``way``) writes it.

    A way in appends good rows, keeps the bad ones here, and then moves its own position. Where it dies in between, it
    meets the same rows again: those that were kept since the last `done` are not kept twice. ``mine`` tells by its origin
    whether a row may be met again by this way in.
    """

    def __init__(self, log: Log, source: str, way: str, mine: Callable[[str], bool]) -> None:
        self._log, self._way = log, f"ingest/{way}"
        self._topic = f"quarantine/{source}"
        self._kept: Counter[tuple[str, str]] = Counter()
        at = log.committed(self._way, self._topic)
        while batches := log.read(self._topic, at):
            at = batches[-1].end
            for batch in batches:
                self._kept.update((origin, text) for _, text, origin, _ in _DECODER.decode(batch.payload) if mine(origin))

    def keep(self, rejects: Iterable[Reject], now_ms: int) -> None:
        """Append what is not there yet. Raises `Transient`, and then nothing is kept."""
        fresh: list[_Row] = []
        known = self._kept.copy()
        for reject in rejects:
            if known[reject.origin, reject.text] > 0:
                known[reject.origin, reject.text] -= 1
            else:
                fresh.append((reject.reason, reject.text, reject.origin, now_ms))
        if fresh:
            self._log.append(self._topic, [NewBatch(len(fresh), now_ms, False, msgspec.msgpack.encode(fresh))])
        self._kept = +known

    def done(self) -> None:
        """Say that the position of this way in has passed all that it kept, but for what it has yet to meet again."""
        if self._kept:
            return
        end = self._log.end(self._topic)
        if end > self._log.committed(self._way, self._topic):
            self._log.commit(self._way, self._topic, end)

    def finish(self) -> None:
        """Say that all was met again that will be."""
        self._kept.clear()
        self.done()
