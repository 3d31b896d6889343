"""All stream work of a project, step by step."""

import time

from skyloom.kernel.records.definitions import ProjectDef
from skyloom.platform import Platform
from skyloom.runtime.worker.erasing import ErasuresLine
from skyloom.runtime.worker.fence import Fenced
from skyloom.runtime.worker.lag import Lag
from skyloom.runtime.worker.quarantine import QuarantineLine
from skyloom.runtime.worker.receipts import ReceiptsLine
from skyloom.runtime.worker.retention import Retention
from skyloom.runtime.worker.source import SourceLine

MAX_WAITING = 50_000
"""Rows that wait for the lake before they are flushed for their number."""

MAX_AGE_S = 5.0
"""How long rows wait for the lake."""


class Worker:
    """Does all of a project's stream work. One at a time owns a project: of two, the one that began later writes, and the
    other one is refused by `Conflict`."""

    def __init__(self, platform: Platform, project: ProjectDef) -> None:
        online = self._online = Fenced(platform.online)
        sources = [SourceLine(platform, online, source, project) for source in project.sources.values()]
        refused = {source: QuarantineLine(platform, source) for source in project.sources}
        by_name = {line.source.name: line for line in sources}
        self._kept = [
            *sources,
            *(ReceiptsLine(platform, online, m, by_name.get(m.label.source)) for m in project.models.values()),
            *refused.values(),
        ]
        self._lines = [ErasuresLine(platform, online, sources, refused), *self._kept]
        self._retention = Retention(platform)
        self._oldest: float | None = None

    def step(self) -> int:
        """One round over everything; how many rows were worked on."""
        count = sum(line.step() for line in self._lines)
        waiting = sum(line.waiting for line in self._lines)
        if waiting and self._oldest is None:
            self._oldest = time.monotonic()
        if waiting > MAX_WAITING or (self._oldest is not None and time.monotonic() - self._oldest > MAX_AGE_S):
            self.flush()
        return count

    def require(self) -> None:
        """Raises `Conflict` when another worker has begun since, or the online store was lost: to be asked now and then,
        since a worker without anything to do would not learn it."""
        with self._online.read() as view:
            self._online.require(view)

    def drain(self) -> None:
        """Work until nothing is left, and flush."""
        while self.step():
            pass
        self.flush()

    def flush(self) -> None:
        """Bring everything that waits into the lake."""
        for line in self._lines:
            line.flush()
        self._oldest = None
        self._retention.tell(*(line.sunk() for line in self._kept))

    def lag(self) -> Lag:
        """How far it is behind, over all topics."""
        lags = [line.lag() for line in self._lines]
        return Lag(sum(lag.unfolded for lag in lags), sum(lag.unsunk for lag in lags), sum(lag.dead for lag in lags))
