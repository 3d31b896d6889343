"""A prediction: features, arm, score, receipt. The same for every contract."""

import time
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from skyloom.features.online.lookup import Snapshot
from skyloom.ingest.rows import Value
from skyloom.kernel.clock import Clock
from skyloom.kernel.errors import DataError
from skyloom.kernel.ids import new_id
from skyloom.kernel.records.prediction import Receipt
from skyloom.kernel.sticky import BUCKETS
from skyloom.serving.loaded import LoadedArm, LoadedRelease, LoadedRoute
from skyloom.serving.logbook import UNLOGGED, Logbook
from skyloom.serving.meters import Count, Spread
from skyloom.serving.metrics import Metrics
from skyloom.serving.router import arm_for
from skyloom.serving.scoring import Scored, score_one, score_rows
from skyloom.serving.shadow import Shadow
from skyloom.serving.traces import recording
from skyloom.serving.traces.spans import looked_up
from skyloom.serving.traces.spans import scored as scored_by
from skyloom.serving.wire import Problem

_T = TypeVar("_T")

_QUARANTINED_S = 60.0
"""When to ask again for a version that is quarantined: somebody has to release another one first."""
_SHOWN = 60
"""As much of a request's key is told when it is one of several that could not be answered."""


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """One answer: the id of its receipt, the version of the model and the release (its digest) that it is of, the score, and
    the label when there is one (``score >= threshold``)."""

    id: str
    model: str
    version: int
    release: str
    score: float
    label: bool | None


class Wanted(NamedTuple):
    """A request that is answered together with others: by its own release, and when it came (`time.perf_counter`).
    ``context`` is what it is to be answered in, where that matters."""

    release: LoadedRelease
    route: LoadedRoute
    rows: Sequence[tuple[Value, ...]]
    came_s: float
    context: Context | None = None


class _Asked(msgspec.Struct, frozen=True, gc=False):
    """One row, made ready for a version."""

    unit: str
    at_ms: int
    row: tuple[Value, ...]
    inputs: tuple[Value, ...]
    as_of: dict[str, int]


class Predictor:
    """Predicts. Safe for threads; it never waits for the log, for shadows or for metrics."""

    def __init__(self, logbook: Logbook, shadow: Shadow, clock: Clock, metrics: Metrics, *, traced: bool = False) -> None:
        self._logbook, self._shadow, self._clock, self._metrics = logbook, shadow, clock, metrics
        self._known: dict[tuple[str, int, str], tuple[Count, Spread]] = {}  # to find a meter costs more than to count
        self._traced = traced

    def predict(self, release: LoadedRelease, route: LoadedRoute, rows: Sequence[tuple[Value, ...]]) -> list[Prediction]:
        """The answers to rows (typed values in the order of the request's schema), all from one release.

        Raises `Problem`: 422 for a row older than the features reach back, 503 when receipts could not be kept, 500 when
        a version broke on one of them (its receipt says how): by an error, or by a score that is no finite number. Rows that
        are asked together are answered together, or none is: most contracts have no place for a row without an answer.
        """
        if len(rows) == 1:
            return [self.predict_one(release, route, rows[0], time.perf_counter())]
        if self._logbook.refuses(route.policy):
            raise Problem(503, UNLOGGED)
        kept = recording() if self._traced else None
        started = time.perf_counter()
        asked = [_ask(release, route, row) for row in rows]
        if kept is not None:
            looked_up(kept, started, route, len(rows))
        answers: list[tuple[LoadedArm, Receipt] | None] = [None] * len(rows)
        for arm, positions in _by_arm(route, asked).items():
            chosen = route.arms[arm]
            begun = 0.0 if kept is None else time.perf_counter()
            scored = score_rows(chosen, [asked[position].inputs for position in positions])
            if kept is not None:
                scored_by(kept, begun, route, chosen, len(scored), _first_error(scored))
            latency_ms = (time.perf_counter() - started) * 1_000
            self._count(route, chosen, scored)
            for position, each in zip(positions, scored, strict=True):
                answers[position] = chosen, self._receipt(release, route, chosen, asked[position], each, latency_ms)
        exemplar = None if kept is None else kept.exemplar
        self._metrics.scoring_seconds.labels(route.model.name).observe(time.perf_counter() - started, exemplar)
        done = [each for each in answers if each is not None]
        return self._finish(route, done)

    def predict_one(self, release: LoadedRelease, route: LoadedRoute, row: tuple[Value, ...], started: float) -> Prediction:
        """The answer to one row, as `predict` gives it: what most requests ask, without what it takes to deal out many.
        ``started`` is when it began (`time.perf_counter`)."""
        if route.policy.refuse and self._logbook.refuses(route.policy):
            raise Problem(503, UNLOGGED)
        kept = recording() if self._traced else None
        asked = _ask(release, route, row)
        if kept is not None:
            looked_up(kept, started, route, 1)
        arms = route.arms
        chosen = arms[0] if len(arms) == 1 else arms[arm_for(route, asked.unit)]
        begun = 0.0 if kept is None else time.perf_counter()
        scored = score_one(chosen, asked.inputs)
        if kept is not None:
            scored_by(kept, begun, route, chosen, 1, scored[1])
        took_s = time.perf_counter() - started
        counted, timed = self._meters(route.model.name, chosen)
        counted.inc()
        timed.observe(took_s, None if kept is None else kept.exemplar)
        score, error = scored
        if error is not None:
            self._metrics.model_errors.labels(route.model.name, chosen.arm.version, chosen.arm.role).inc()
        policy = route.policy
        unseen = policy.share < BUCKETS and kept is None and not (route.shadows or policy.keeps(asked.unit))
        if unseen and score is not None:
            return _prediction(route, chosen, new_id("p"), release.digest, score)
        receipt = self._receipt(release, route, chosen, asked, scored, took_s * 1_000)
        if not self._logbook.add(policy, (receipt,)) and policy.refuse:
            raise Problem(503, UNLOGGED)
        if route.shadows and receipt.arm == "champion":
            self._shadow.offer(route.shadows, (receipt,), policy)
        if score is None:
            raise self._explained(chosen, receipt, 1)
        return _prediction(route, chosen, receipt.id, release.digest, score)

    def predict_together(self, batch: Sequence[Wanted]) -> list[list[Prediction] | Exception]:
        """The answers to several requests, or what `predict` raises for one of them: each as if it had been alone, since
        what breaks a version is asked again by itself. Rows of one version are asked at once, whoever sent them."""
        asked = [_tried(each, self._asked, each) for each in batch]
        begun = time.perf_counter()
        ready = [(each.route, rows) for each, rows in zip(batch, asked, strict=True) if not isinstance(rows, Exception)]
        scored = iter(_scored_together(ready))
        return [
            rows if isinstance(rows, Exception) else _tried(each, self._answered, each, rows, next(scored), begun)
            for each, rows in zip(batch, asked, strict=True)
        ]

    def _asked(self, each: Wanted) -> list[_Asked]:
        if self._logbook.refuses(each.route.policy):
            raise Problem(503, UNLOGGED)
        started = time.perf_counter()
        asked = [_ask(each.release, each.route, row) for row in each.rows]
        kept = recording() if self._traced else None
        if kept is not None:
            looked_up(kept, started, each.route, len(asked))
        return asked

    def _answered(
        self, each: Wanted, asked: Sequence[_Asked], scored: Sequence[tuple[LoadedArm, Scored]], begun: float
    ) -> list[Prediction]:
        """Count, receipts and answers of one request of a batch whose model was asked at ``begun``."""
        now, kept = time.perf_counter(), recording() if self._traced else None
        done = [
            (arm, self._receipt(each.release, each.route, arm, row, score, (now - each.came_s) * 1_000))
            for row, (arm, score) in zip(asked, scored, strict=True)
        ]
        for arm in {id(arm): arm for arm, _ in scored}.values():
            own = [score for chosen, score in scored if chosen is arm]
            self._count(each.route, arm, own)
            if kept is not None:
                scored_by(kept, begun, each.route, arm, len(own), _first_error(own))
        exemplar = None if kept is None else kept.exemplar
        self._metrics.scoring_seconds.labels(each.route.model.name).observe(now - begun, exemplar)
        return self._finish(each.route, done)

    def _finish(self, route: LoadedRoute, done: Sequence[tuple[LoadedArm, Receipt]]) -> list[Prediction]:
        receipts = [receipt for _, receipt in done]
        broken = None
        for arm, receipt in done:
            if receipt.error is not None:
                broken = arm, receipt
                break
        if not self._logbook.add(route.policy, receipts) and route.policy.refuse:
            raise Problem(503, UNLOGGED)
        copied = [receipt for receipt in receipts if receipt.arm == "champion"] if route.shadows else []
        if copied:
            self._shadow.offer(route.shadows, copied, route.policy)
        if broken is not None:
            raise self._explained(*broken, len(receipts))
        return [_prediction(route, arm, receipt.id, receipt.release, cast("float", receipt.score)) for arm, receipt in done]

    def _explained(self, arm: LoadedArm, broken: Receipt, count: int) -> Problem:
        """Why there is no answer to ``count`` rows, one of which a version broke on."""
        if arm.guard and (reason := arm.guard.reason):
            self._metrics.refused.labels(broken.model, "quarantined").inc(count)
            return Problem(503, f"{broken.model} v{broken.version} is {reason}", retry_s=_QUARANTINED_S)
        which = f" {broken.key[:_SHOWN]!r}" if count > 1 else ""
        return Problem(
            500, f"{broken.model} v{broken.version} could not answer{which} ({broken.error}); receipt {broken.id}"
        )

    def _receipt(
        self, release: LoadedRelease, route: LoadedRoute, chosen: LoadedArm, asked: _Asked, scored: Scored, latency_ms: float
    ) -> Receipt:
        arm, rows = chosen.arm, route.rows
        looked_into = route.shadows or route.policy.columns
        request: Any = dict(zip(rows.names, asked.row, strict=True)) if looked_into else rows.named(*asked.row)
        return Receipt(  # by position: names cost more than the rest of it
            new_id("p"),
            route.model.name,
            arm.version,
            release.digest,
            arm.role,
            asked.unit,
            asked.unit,
            asked.at_ms,
            self._clock.now_ms(),
            asked.inputs,
            asked.as_of,
            request,
            scored[0],
            latency_ms,
            scored[1],
        )

    def _count(self, route: LoadedRoute, chosen: LoadedArm, scored: Sequence[Scored]) -> None:
        self._meters(route.model.name, chosen)[0].inc(len(scored))
        if broken := sum([error is not None for _, error in scored]):
            self._metrics.model_errors.labels(route.model.name, chosen.arm.version, chosen.arm.role).inc(broken)

    def _meters(self, model: str, chosen: LoadedArm) -> tuple[Count, Spread]:
        """The answers of a version, and how long those of its model took."""
        labels = model, chosen.arm.version, chosen.arm.role
        known = self._known.get(labels)
        if known is None:
            metrics = self._metrics
            known = self._known[labels] = metrics.predictions.labels(*labels), metrics.scoring_seconds.labels(model)
        return known


def _tried(each: Wanted, function: Callable[..., _T], *arguments: Any) -> _T | Exception:
    """What a function gives for one request of a batch, or raises: the others have nothing to do with that."""
    try:
        return function(*arguments) if each.context is None else each.context.run(function, *arguments)
    except Exception as error:  # noqa: BLE001  # raised again for the request whose it is
        return error


def _scored_together(
    ready: Sequence[tuple[LoadedRoute, Sequence[_Asked]]],
) -> list[list[tuple[LoadedArm, Scored]]]:
    """For each request, which arm answers its rows and what it says. The rows of one version are asked at once; where that
    breaks it, the rows of each request by themselves."""
    chosen = [[route.arms[arm_for(route, row.unit)] for row in rows] for route, rows in ready]
    by_version: dict[int, list[tuple[int, int]]] = {}
    for request, arms in enumerate(chosen):
        for row, arm in enumerate(arms):
            by_version.setdefault(id(arm.package), []).append((request, row))
    found: dict[tuple[int, int], Scored] = {}
    for places in by_version.values():
        arm = chosen[places[0][0]][places[0][1]]
        inputs = {place: ready[place[0]][1][place[1]].inputs for place in places}
        scored = score_rows(arm, list(inputs.values()))
        requests = dict.fromkeys(request for request, _ in places)
        if len(requests) == 1 or any(error is None for _, error in scored):
            found |= zip(places, scored, strict=True)
            continue
        for request in requests:
            own = [place for place in places if place[0] == request]
            found |= zip(own, score_rows(arm, [inputs[place] for place in own]), strict=True)
    return [[(arm, found[request, row]) for row, arm in enumerate(arms)] for request, arms in enumerate(chosen)]


def _ask(release: LoadedRelease, route: LoadedRoute, row: tuple[Value, ...]) -> _Asked:
    at_ms = row[route.time]
    if not isinstance(at_ms, int):
        raise Problem(400, f"{route.rows.schema.time}: a request needs its time")
    whole, as_of = row, dict[str, int]()
    if route.lookups:
        whole, as_of = _looked_up(release, route, row)
    if route.wanted:
        found = _features(release, route, whole, at_ms)
        as_of = {**found.as_of, **as_of} if as_of else found.as_of
        for values in found.values:
            whole += values
    return _Asked(str(row[route.key]), at_ms, row, route.take(whole), as_of)


def _looked_up(
    release: LoadedRelease, route: LoadedRoute, row: tuple[Value, ...]
) -> tuple[tuple[Value, ...], dict[str, int]]:
    """The row with the columns of entity tables, and the offsets that the lookups saw."""
    seen: dict[str, int] = {}
    for each in route.lookups:
        found = release.tables.read([(each.table, tuple([row[column] for column in each.entity]))])
        row = (*row, *found.values[0])
        seen |= {f"{place}@{each.name}": position for place, position in found.as_of.items()}
    return row, seen


def _features(release: LoadedRelease, route: LoadedRoute, row: tuple[Value, ...], at_ms: int) -> Snapshot:
    wanted: list[tuple[str, Any]] = [(group, entity(row)) for group, entity in route.entities]
    try:
        return release.features.read(wanted, at_ms)
    except DataError as error:
        raise Problem(422, error.what) from error


def _by_arm(route: LoadedRoute, asked: Sequence[_Asked]) -> dict[int, list[int]]:
    """Which arm answers which rows: index of the arm -> positions of the rows."""
    by_arm: dict[int, list[int]] = {}
    for position, each in enumerate(asked):
        by_arm.setdefault(arm_for(route, each.unit), []).append(position)
    return by_arm


def _first_error(scored: Sequence[Scored]) -> str | None:
    return next((error for _, error in scored if error), None)


def _prediction(route: LoadedRoute, chosen: LoadedArm, receipt: str, release: str, score: float) -> Prediction:
    model = route.model
    label = score >= chosen.package.manifest.threshold if model.task == "binary" else None
    return Prediction(receipt, model.name, chosen.arm.version, release, score, label)
