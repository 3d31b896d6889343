"""Consistency, watched: a sample of what was served is computed again from the lake, all the time.

Each round takes the next receipts of a model from the log, as far as the lake holds the events that they saw, and compares
a few of them: the work of a round is bounded however much is served and however long the history is. What was found
unequal is an incident. Where the watch stands is a file of the project's state and no metadata: a round decides nothing
that an audit would want to know. A watch that lost its file begins again with the oldest receipt.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from skyloom.features.online.fold import SourceFold
from skyloom.features.spaces import partitions_of
from skyloom.ingest.partitions import number_of, source_of
from skyloom.ingest.receipts import decode_receipts
from skyloom.ingest.sink import APP, events_topic
from skyloom.kernel.errors import SkyloomError, Transient
from skyloom.kernel.ids import digest
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.records.prediction import Receipt, predictions_topic
from skyloom.monitoring.incidents import Incident, report
from skyloom.platform import Platform
from skyloom.ports.log import LogBatch
from skyloom.runtime.skew import Skew, compare
from skyloom.runtime.state import applied
from skyloom.runtime.watched import WATCHER, Watched, watched
from skyloom.stores.files import complete_file, writable

_log = logging.getLogger("skyloom.consistency")

SAMPLE = 20
"""Predictions of a model that are compared in a round, at most."""

ROWS = 20_000
"""Receipts that a round takes its sample from, about."""


class _Compared(NamedTuple):
    """What comparing a sample gave, and how many of it could not be computed again."""

    skew: Skew
    failed: int


class Watch:
    """Watches over every model of a project. One process does so at a time: the scheduler's."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def look(self) -> list[Incident]:
        """One round; the incidents that it found. Raises `Transient` when a store cannot be read now."""
        project = applied(self._platform.metadata).project
        found = [self._look_at(name, project.sources) for name in project.models]
        return [incident for incident in found if incident is not None]

    def _look_at(self, model: str, sources: dict[str, SourceDef]) -> Incident | None:
        before = watched(self._platform, model)
        batches = self._in_the_lake(self._platform.log.read(predictions_topic(model), before.position, ROWS), sources)
        if not batches:
            return None
        receipts = decode_receipts(batches)
        sample = sample_of(receipts, SAMPLE)
        compared = self._compare(model, sample)
        incident = self._report(model, compared.skew) if compared.skew.differences else None
        now = self._platform.clock.now_ms()
        self._keep(_moved(before, batches[-1].end, len(receipts) - len(sample), compared, now))
        self._platform.log.commit(WATCHER, predictions_topic(model), batches[-1].end)
        return incident

    def _in_the_lake(self, batches: Sequence[LogBatch], sources: dict[str, SourceDef]) -> list[LogBatch]:
        """The first batches, up to one that saw an event which may not be in the lake yet."""
        sunk: dict[str, int] = {}
        ready: list[LogBatch] = []
        for batch in batches:
            for receipt in decode_receipts([batch]):
                for lookup, seen in receipt.as_of.items():
                    place = lookup.partition("@")[0]
                    if place not in sunk:
                        sunk[place] = self._sunk(place, sources.get(source_of(place)))
                    if seen > sunk[place]:
                        return ready
            ready.append(batch)
        return ready

    def _sunk(self, place: str, source: SourceDef | None) -> int:
        """The position of a partition before which the lake holds every first copy, also where its last rows were none."""
        number = number_of(place)
        if source is None:  # it is declared no more
            app = f"{APP}/{number}" if number else APP
            return self._platform.lake.position(events_topic(source_of(place)), app) or 0
        with self._platform.online.read() as view:
            partitions = partitions_of(view, source.name)
            fold = SourceFold(source, [], partition=number, partitions=partitions)
            unsunk = fold.unsunk(view)
            return fold.position(view) if unsunk is None else unsunk

    def _compare(self, model: str, sample: list[Receipt]) -> _Compared:
        """The sample compared at once, or where one of it cannot be computed again, one by one."""
        try:
            return _Compared(compare(self._platform, model, sample), 0)
        except Transient:
            raise
        except (SkyloomError, LookupError, TypeError, ValueError) as error:  # a receipt can be damaged in any way
            if len(sample) == 1:
                _log.error("prediction %s of %s cannot be computed again: %s", sample[0].id, model, error)
                return _Compared(Skew(0, 0, ()), 1)
        parts = [self._compare(model, [receipt]) for receipt in sample]
        differences = tuple(each for part in parts for each in part.skew.differences)
        redacted = sum(part.skew.redacted for part in parts)
        predictions, values = sum(part.skew.predictions for part in parts), sum(part.skew.values for part in parts)
        skew = Skew(predictions, values, differences, redacted=redacted)
        return _Compared(skew, sum(part.failed for part in parts))

    def _report(self, model: str, skew: Skew) -> Incident | None:
        first, now = skew.differences[0], self._platform.clock.now_ms()
        _log.error(
            "%d served values of %s are not those of the lake; %s of prediction %s was %r and is %r",
            len(skew.differences), model, first.input, first.receipt, first.served, first.recomputed,
        )  # fmt: skip
        return report(self._platform.metadata, model, skew.differences, actor=WATCHER, now_ms=now)

    def _keep(self, now: Watched) -> None:
        folder = self._platform.state / WATCHER
        with writable(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with complete_file(folder, msgspec.json.encode(now)) as path:
                path.replace(folder / f"{now.model}.json")


def sample_of(receipts: Sequence[Receipt], most: int) -> list[Receipt]:
    """Some of the receipts, each as likely as any other, and the same ones when asked again."""
    return sorted(receipts, key=lambda receipt: digest(receipt.id.encode()))[:most]


def _moved(before: Watched, position: int, passed: int, compared: _Compared, now_ms: int) -> Watched:
    """The record after a round that ends at ``position``."""
    return Watched(
        before.model,
        position,
        before.predictions + compared.skew.predictions,
        before.values + compared.skew.values,
        before.unequal + len(compared.skew.differences),
        before.passed + passed + compared.skew.redacted,
        before.failed + compared.failed,
        now_ms,
    )
