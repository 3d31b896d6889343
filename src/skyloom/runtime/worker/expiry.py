"""When predictions have waited too long for their labels: time must not pass before the labels that came in until then are
joined, whichever worker joins them."""

from collections.abc import Sequence
from typing import NamedTuple

from skyloom.features.spaces import position, source_position
from skyloom.ingest.partitions import SourcePart
from skyloom.ingest.sink import events_topic
from skyloom.kernel.records.definitions import ModelDef
from skyloom.monitoring.outcomes import sweep_expired
from skyloom.ports.log import Log
from skyloom.ports.online import OnlineReader, OnlineWriter


class _Due(NamedTuple):
    """What has waited until ``now_ms`` may be forgotten once every partition of labels is folded up to its position."""

    now_ms: int
    positions: list[int]


class Expiry:
    """The expiry of one model, whose labels come from the partitions ``labels``."""

    def __init__(self, log: Log, model: ModelDef, labels: Sequence[SourcePart]) -> None:
        self._log, self._model, self._labels = log, model, labels
        self._due: _Due | None = None

    def passed(self, now_ms: int) -> None:
        """Time has come to ``now_ms``. What is due already is kept as it is, so that it is reached."""
        if self._due is None:
            ends = [(part, self._log.end(events_topic(part.source.name), part.partition)) for part in self._labels]
            self._due = _Due(now_ms, [part.position(end) for part, end in ends])

    def is_due(self, view: OnlineReader | OnlineWriter) -> bool:
        """Whether the labels are there that were in the log when time passed."""
        if self._due is None:
            return False
        stand = [position(view, source_position(part.place)) or 0 for part in self._labels]
        return all(at >= wanted for at, wanted in zip(stand, self._due.positions, strict=True))

    def sweep(self, writer: OnlineWriter) -> None:
        """Forget what is due."""
        if self._due is not None and self.is_due(writer):
            sweep_expired(writer, self._model, self._due.now_ms)
            self._due = None
