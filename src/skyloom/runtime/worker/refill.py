"""A store that was lost, or went back, filled from the lake as far as the log no longer reaches back."""

import logging
from collections.abc import Callable

import pyarrow as pa

from skyloom.features.online.fold import SourceFold
from skyloom.ports.lake import Lake
from skyloom.ports.log import Log
from skyloom.ports.online import OnlineStore, OnlineWriter
from skyloom.runtime.worker.slices import Slices

_log = logging.getLogger("skyloom.work")
Join = Callable[[OnlineWriter, pa.Table], None]
"""What else is done with first copies, in the transaction that folds them."""


class Refill:
    """One partition: first copies from the lake folded again, from where the store stands to where the lake ends.

    ``end`` is that offset; 0 where the log still holds all that is to be read. What was repeated or dead is not folded
    again: it is remembered by nobody, so that the horizon of the source may stand a little further back than it did.
    """

    def __init__(self, log: Log, lake: Lake, online: OnlineStore, fold: SourceFold, join: Join) -> None:
        self._log, self._online, self._fold, self._join = log, online, fold, join
        self._slices = Slices(lake, fold.part)
        self.end = 0

    def begin(self, topic: str, offset: int, sunk: int) -> None:
        """Look what is missing for a store at ``offset`` when the lake holds everything below ``sunk``."""
        part = self._fold.part
        start = part.position(self._log.start(topic, part.partition))
        if offset >= start:
            return
        if sunk < start and offset:
            _log.warning(
                "%s was cut at offset %d, and the lake ends at %d: what lay between is lost", part.place, start, sunk
            )
        if offset < sunk:
            self.end = sunk
            _log.warning(
                "%s begins at offset %d, and the store ends at %d: filling it from the lake", part.place, start, offset
            )

    def step(self, offset: int) -> tuple[int, int]:
        """The next part from ``offset`` on; how many rows it has, and the offset after it."""
        rows, end = self._slices.read(offset, self.end)
        with self._online.write(durable=False) as writer:
            self._fold.require(writer, offset)
            self._fold.refold(writer, rows, end)
            self._join(writer, rows)
        return len(rows), end
