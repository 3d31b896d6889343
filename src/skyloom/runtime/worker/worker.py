"""All stream work of a project, step by step."""

import time
from collections.abc import Callable, Sequence

from skyloom.ingest.partitions import SourcePart
from skyloom.kernel.records.definitions import ProjectDef
from skyloom.platform import Platform
from skyloom.runtime.worker.erasing import ErasuresLine, Tombstones
from skyloom.runtime.worker.fence import Fenced, release, take
from skyloom.runtime.worker.lag import Lag
from skyloom.runtime.worker.quarantine import QuarantineLine
from skyloom.runtime.worker.receipts import ReceiptsLine
from skyloom.runtime.worker.retention import Retention
from skyloom.runtime.worker.shards import ALONE, shards_of, source_parts
from skyloom.runtime.worker.source import SourceLine

MAX_WAITING = 50_000
"""Rows that wait for the lake before they are flushed for their number."""

MAX_AGE_S = 5.0
"""How long rows wait for the lake."""


class Worker:
    """Does the stream work of a project: of the shards whose owner it is (``fences``), or of all. Who takes a shard that has
    an owner is the new one, and the old one is refused by `Conflict`."""

    def __init__(self, platform: Platform, project: ProjectDef, fences: Sequence[Fenced] | None = None) -> None:
        shards = shards_of(platform.log, project)
        self._fences = {
            each.shard: each for each in (take(platform.online, ALONE, range(shards)) if fences is None else fences)
        }
        parts = [part for source in project.sources.values() for part in source_parts(platform.log, source)]
        self._sources = [
            SourceLine(platform, self._fences[part.partition], part, project)
            for part in parts
            if part.partition in self._fences
        ]
        self._kept: list[SourceLine | ReceiptsLine | QuarantineLine] = [*self._sources]
        self._erasures: ErasuresLine | None = None
        if 0 in self._fences:
            self._add_what_is_there_once(platform, project, parts, alone=len(self._fences) == shards)
        self._tombstones = Tombstones(platform.log, self._sources)
        self._lines = [*self._kept] if self._erasures is None else [self._erasures, *self._kept]
        self._retention = Retention(platform)
        self._oldest: float | None = None

    @property
    def shards(self) -> frozenset[int]:
        """The shards that it works on."""
        return frozenset(self._fences)

    @property
    def wants_all(self) -> bool:
        """Whether it has something to do that only the owner of every shard may do."""
        return self._erasures is not None and self._erasures.wants_all

    def step(self) -> int:
        """One round over everything; how many rows were worked on."""
        self._tombstones.listen()
        count = sum(line.step() for line in self._lines)
        waiting = sum(line.waiting for line in self._lines)
        if waiting and self._oldest is None:
            self._oldest = time.monotonic()
        if waiting > MAX_WAITING or (self._oldest is not None and time.monotonic() - self._oldest > MAX_AGE_S):
            self.flush()
        return count

    def require(self) -> None:
        """Raises `Conflict` when another worker has begun since, or the online store was lost: to be asked now and then,
        since a worker without anything to do would not learn it. Also begins to build what others folded without."""
        for fenced in self._fences.values():
            with fenced.read() as view:
                fenced.require(view)
        for line in self._sources:
            if line.part.partitions > 1:
                line.begin_missing()

    def drain(self, between: Callable[[], None] = lambda: None) -> None:
        """Work until nothing is left, and flush; ``between`` is called after each step."""
        while self.step():
            between()
        self.flush()

    def flush(self) -> None:
        """Bring everything that waits into the lake."""
        for line in self._lines:
            line.flush()
        self._oldest = None
        self._retention.tell(*(line.sunk() for line in self._kept))

    def release(self) -> None:
        """Let others have its shards. Nothing may wait, and it is of no use then."""
        release(self._fences.values())

    def _add_what_is_there_once(
        self, platform: Platform, project: ProjectDef, parts: Sequence[SourcePart], *, alone: bool
    ) -> None:
        online = self._fences[0]
        refused = {source: QuarantineLine(platform, source) for source in project.sources}
        for model in project.models.values():
            labels = [part for part in parts if part.source.name == model.label.source]
            self._kept.append(ReceiptsLine(platform, online, model, labels))
        self._kept += refused.values()
        self._erasures = ErasuresLine(platform, online, self._sources, refused, alone=alone)

    def lag(self) -> Lag:
        """How far it is behind, over all topics."""
        lags = [line.lag() for line in self._lines]
        return Lag(sum(lag.unfolded for lag in lags), sum(lag.unsunk for lag in lags), sum(lag.dead for lag in lags))
