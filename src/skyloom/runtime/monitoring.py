"""`skyloom monitor`: how the models of a project fare, each figure computed from what is stored now."""

from collections.abc import Sequence

import msgspec

from skyloom.cost import month_of, spent
from skyloom.features.online.fold import SourceFold
from skyloom.ingest.deadletter import count_dead
from skyloom.ingest.partitions import SourcePart
from skyloom.ingest.sink import APP, events_from, events_topic, rows_from
from skyloom.kernel.money import Money
from skyloom.kernel.records.definitions import ModelDef, ProjectDef
from skyloom.kernel.records.prediction import Outcome, predictions_topic
from skyloom.kernel.records.registry import Version
from skyloom.kernel.records.release import Rollout
from skyloom.kernel.units import DAY, HOUR
from skyloom.monitoring.decline import Decline, Promise, estimated, matured, realised
from skyloom.monitoring.drift import ColumnDrift
from skyloom.monitoring.incidents import Incident, incidents
from skyloom.monitoring.outcomes import JoinCounts, read_counts, read_position
from skyloom.monitoring.performance import Cohort, performance
from skyloom.platform import Platform
from skyloom.registry.champion import champion_of
from skyloom.registry.runs import list_runs
from skyloom.registry.versions import get_version
from skyloom.runtime.control import rollout_of
from skyloom.runtime.evidence import promise_of, recent_outcomes
from skyloom.runtime.inspection import input_drift
from skyloom.runtime.retraining import Retraining, retraining_of
from skyloom.runtime.skew import Skew, check_skew
from skyloom.runtime.state import applied, model_of
from skyloom.runtime.watched import Watched, watched
from skyloom.runtime.worker import Lag, source_parts

SAMPLE = 200
"""Predictions whose skew is checked when not all are asked for."""

_COHORTS = 12
_LENGTHS = (HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY)


class Health(msgspec.Struct, frozen=True):
    """One model: who serves and what it promised, what became of its predictions, its inputs, its next training.

    ``quality`` is judged by matured labels, ``estimate`` without labels (each ``None`` when there is too little to judge);
    ``coverage`` is the share of predictions with a label among those whose time for one is over or that have one.
    """

    model: str
    champion: int | None
    rollout: Rollout | None
    promise: Promise | None
    predictions: JoinCounts
    coverage: float | None
    cohorts: tuple[Cohort, ...]
    quality: Decline | None
    estimate: Decline | None
    drift: tuple[ColumnDrift, ...]
    skew: Skew
    watched: Watched
    retraining: Retraining
    last_training_ms: int | None
    spent: str
    budget: str | None


class Report(msgspec.Struct, frozen=True):
    """The project: its models, how far the stream work is behind by topic, rejected rows by source and reason, and every
    incident (served values that were not those of the lake), oldest first."""

    at_ms: int
    models: tuple[Health, ...]
    lag: dict[str, Lag]
    quarantine: dict[str, dict[str, int]]
    incidents: tuple[Incident, ...]


def observe(platform: Platform, model: str | None = None, *, all_skew: bool = False) -> Report:
    """How the project fares now, or one model of it. Raises `NotFound` for a model that is not there."""
    project = applied(platform.metadata).project
    models = list(project.models.values()) if model is None else [model_of(platform, model)]
    lag = lags(platform, project)  # before the check for skew, which lets the worker catch up
    found = tuple(health(platform, each, None if all_skew else SAMPLE) for each in models)
    known = tuple(incidents(platform.metadata, model))
    return Report(platform.clock.now_ms(), found, lag, quarantine(platform, project), known)


def health(platform: Platform, model: ModelDef, sample: int | None) -> Health:
    """How one model fares."""
    champion = champion_of(platform.metadata, model.name)
    version = None if champion is None else get_version(platform.metadata, model.name, champion.version)
    skew = check_skew(platform, model.name, sample)
    outcomes = recent_outcomes(platform, model.name)
    with platform.online.read() as view:
        counts = read_counts(view, model.name)
    promise = None if version is None else promise_of(platform, version)
    quality, estimate = _judged(platform, model, version, promise, outcomes)
    price = Money.of(platform.profile.price_per_core_hour)
    month = month_of(platform.clock.now_ms())
    budget, runs = model.loop.budget_micros, list_runs(platform.metadata, model.name)
    return Health(
        model=model.name,
        champion=None if version is None else version.number,
        rollout=rollout_of(platform, model.name),
        promise=promise,
        predictions=counts,
        coverage=counts.coverage,
        cohorts=tuple(cohorts(outcomes, model, platform.clock.now_ms())),
        quality=quality,
        estimate=estimate,
        drift=tuple(sorted(input_drift(platform, model.name), key=_movement, reverse=True)),
        skew=skew,
        watched=watched(platform, model.name),
        retraining=retraining_of(platform, model.name),
        last_training_ms=max((run.finished_ms for run in runs if run.finished_ms is not None), default=None),
        spent=str(spent(runs, model.name, month, price)),
        budget=None if budget is None else str(Money(budget)),
    )


def cohorts(outcomes: Sequence[Outcome], model: ModelDef, now_ms: int) -> list[Cohort]:
    """The newest cohorts by moment of prediction, a dozen moments at most, each of a length that suits the traffic."""
    moments = [outcome.at_ms for outcome in outcomes]
    span = max(moments) - min(moments) if moments else 0
    length = next((each for each in _LENGTHS if span < each * _COHORTS), _LENGTHS[-1])
    found = performance(outcomes, model.task, length, now_ms, model.label.within_ms)
    return [cohort for cohort in found if cohort.start_ms > max(moments) - length * _COHORTS]


def lags(platform: Platform, project: ProjectDef) -> dict[str, Lag]:
    """How far each topic is behind: rows not yet folded or joined, rows not yet in the lake, and dead letters."""
    found: dict[str, Lag] = {}
    for name, source in project.sources.items():
        each = [_lag_of(platform, part) for part in source_parts(platform.log, source)]
        unfolded, unsunk = sum(lag.unfolded for lag in each), sum(lag.unsunk for lag in each)
        found[events_topic(name)] = Lag(unfolded, unsunk, count_dead(platform.lake, name))
    for name in project.models:
        topic = predictions_topic(name)
        with platform.online.read() as view:
            worked = read_position(view, topic)
        sunk = platform.lake.position(topic, APP) or 0
        found[topic] = Lag(rows_from(platform.log, topic, worked), rows_from(platform.log, topic, sunk))
    return found


def _lag_of(platform: Platform, part: SourcePart) -> Lag:
    fold = SourceFold(part.source, [], partition=part.partition, partitions=part.partitions)
    with platform.online.read() as view:
        worked, unsunk = fold.position(view), fold.unsunk(view)
    unfolded = events_from(platform.log, part, worked)
    return Lag(unfolded, unfolded if unsunk is None else events_from(platform.log, part, unsunk))


def quarantine(platform: Platform, project: ProjectDef) -> dict[str, dict[str, int]]:
    """How many rows of each source were refused, by reason; sources without any are left out."""
    found: dict[str, dict[str, int]] = {}
    for name in project.sources:
        table = f"quarantine/{name}"
        if platform.lake.version(table) is not None:
            counted = platform.lake.read(table, columns=["reason"]).group_by("reason").aggregate([([], "count_all")])
            rows = zip(counted.column("reason").to_pylist(), counted.column("count_all").to_pylist(), strict=True)
            found[name] = dict(sorted(rows))
    return found


def _judged(
    platform: Platform, model: ModelDef, version: Version | None, promise: Promise | None, outcomes: Sequence[Outcome]
) -> tuple[Decline | None, Decline | None]:
    if version is None or promise is None:
        return None, None
    known = matured(outcomes, version.number, -1, platform.clock.now_ms(), model.label.within_ms)
    served = [each for each in outcomes if each.kind == "served" and each.version == version.number]
    scores = [each.score for each in served if each.score is not None]
    quality = realised(known.outcomes, promise, model.metrics, model.task)
    return quality, estimated(scores, promise, model.metrics, model.task)


def _movement(each: ColumnDrift) -> float:
    """How far a column has moved, in units of what is usual for it."""
    return each.distance / each.limit
