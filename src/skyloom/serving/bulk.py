"""Many rows at once: predictions by column, without a row of Python's own being made.

For models whose inputs are columns of their request, as they come (no expression, no feature to look up) and without a
shadow. Everything else, and everything that is not plainly right, is left to `Predictor`: so there is one place that
explains what is wrong with a value, and one that tells how a version broke.
"""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skyloom.ingest.rows import MAX_TEXT
from skyloom.kernel.clock import Clock
from skyloom.kernel.records.hidden import hash_name, mark_name
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.serving.answers import Answers
from skyloom.serving.body import LAST_MOMENT_MS
from skyloom.serving.loaded import LoadedRelease, LoadedRoute
from skyloom.serving.logbook import UNLOGGED, Logbook, Policy, Sealed, keyed_hash
from skyloom.serving.metrics import Metrics
from skyloom.serving.numbered import Numbered
from skyloom.serving.records import Column, Receipts
from skyloom.serving.router import arm_for
from skyloom.serving.tensors import FLOATS, INTEGERS, Columns, Matrix, Tensor
from skyloom.serving.traces import Recording, recording
from skyloom.serving.traces.spans import scored as scored_by
from skyloom.serving.wire import Problem

_Positions = NDArray[np.intp] | slice


class _Share(NamedTuple):
    """Rows that one arm answered: the arm's index, where they are, their scores."""

    arm: int
    positions: _Positions
    scores: NDArray[np.float64]


class BulkPredictor:
    """Predicts by column. Safe for threads."""

    def __init__(self, logbook: Logbook, clock: Clock, metrics: Metrics) -> None:
        self._logbook, self._clock, self._metrics = logbook, clock, metrics

    def predict(self, release: LoadedRelease, route: LoadedRoute, columns: Columns) -> Answers | None:
        """The answers, the same as `Predictor` gives row by row, with the same receipts; or ``None``: then ask it."""
        started = time.perf_counter()
        names = _plain(route)
        if names is None or not columns.count or self._logbook.refuses(route.policy):
            return None
        request = _typed(columns, route.rows.schema)
        if request is None:
            return None
        units = _units(request[route.rows.schema.key])
        kept = recording()
        shares = _scored(route, names, request, units, kept)
        if shares is None:
            return None
        ids, scores, threshold = Numbered("p", columns.count), np.empty(columns.count), np.empty(columns.count)
        for share in shares:
            scores[share.positions] = share.scores
            threshold[share.positions] = route.arms[share.arm].package.manifest.threshold
            self._log(release, route, share, _Rows(names, request, units, ids, columns.fresh), started)
        exemplar = None if kept is None else kept.exemplar
        self._metrics.scoring_seconds.labels(route.model.name).observe(time.perf_counter() - started, exemplar)
        labels = scores >= threshold if route.model.task == "binary" else None
        return Answers(scores, labels, ids, frozenset(route.arms[share.arm].arm.version for share in shares))

    def _log(self, release: LoadedRelease, route: LoadedRoute, share: _Share, rows: "_Rows", started: float) -> None:
        arm, model, schema = route.arms[share.arm].arm, route.model.name, route.rows.schema
        self._metrics.predictions.labels(model, str(arm.version), arm.role).inc(len(share.scores))
        kept = _kept(rows.only(share.positions), share.scores, route.policy, self._logbook.secret)
        if kept is None:
            return
        at_ms: Any = kept.request[schema.time]
        receipts = Receipts(
            same={
                "model": model,
                "version": arm.version,
                "release": release.digest,
                "arm": arm.role,
                "logged_ms": self._clock.now_ms(),
                "as_of": {},
                "latency_ms": (time.perf_counter() - started) * 1_000,
                "error": None,
            },
            ids=kept.ids,
            units=kept.units,
            at_ms=at_ms,
            inputs=kept.inputs,
            request=kept.request,
            scores=kept.scores,
        )
        if not self._logbook.seal(route.policy, Sealed(len(kept.ids), receipts.encode)) and route.policy.refuse:
            raise Problem(503, UNLOGGED)


class _Rows(NamedTuple):
    """``names`` are the request's columns that are the model's inputs, in order; ``fresh`` as in `Columns`."""

    names: Sequence[str]
    request: Mapping[str, Column]
    units: Sequence[str]
    ids: Sequence[str]
    fresh: bool = False

    def only(self, positions: _Positions) -> "_Rows":
        """The rows at ``positions`` alone."""
        if isinstance(positions, slice):
            return self
        request = {name: _picked(column, positions) for name, column in self.request.items()}
        at = [int(position) for position in positions]
        return _Rows(self.names, request, [self.units[row] for row in at], [self.ids[row] for row in at], self.fresh)


class _Kept(NamedTuple):
    """What receipts keep of rows."""

    ids: Sequence[str]
    units: Sequence[str]
    inputs: Sequence[Column]
    request: Mapping[str, Column]
    scores: NDArray[np.float64]


def _kept(rows: _Rows, scores: NDArray[np.float64], policy: Policy, secret: bytes) -> _Kept | None:
    """Of rows that one arm answered: those that the policy keeps, if any, without what it redacts."""
    if not policy.keeps_all:
        positions = policy.drawn(len(rows.ids)) if rows.fresh else policy.kept(rows.units)
        if not len(positions):
            return None
        rows, scores = rows.only(positions), scores[positions]

    def hashes(column: str) -> Column:
        return [keyed_hash(secret, column, value) for value in rows.request[column]]

    inputs = [rows.request[name] for name in rows.names]
    for place, column in policy.inputs.items():
        inputs[place] = hashes(column) if column else [None] * len(rows.ids)
    request = {name: column for name, column in rows.request.items() if name not in policy.columns}
    for name, hashed in policy.columns.items():
        request[hash_name(name) if hashed else mark_name(name)] = hashes(name) if hashed else [None] * len(rows.ids)
    return _Kept(rows.ids, rows.units, inputs, request, scores)


def _plain(route: LoadedRoute) -> list[str] | None:
    """The columns that are the model's inputs, in order, if all inputs are columns."""
    if route.shadows or route.lookups or route.wanted:
        return None
    expressions = [each.expression for each in route.model.inputs]
    names = [str(each.value) for each in expressions if each is not None and each.op == "col"]
    return names if len(names) == len(expressions) else None


def _scored(
    route: LoadedRoute,
    names: Sequence[str],
    request: Mapping[str, Column],
    units: Sequence[str],
    kept: Recording | None,
) -> list[_Share] | None:
    """The scores by arm; ``None`` when a version broke."""
    shares: list[_Share] = []
    for arm, positions in _by_arm(route, units).items():
        scorer, guard = route.arms[arm].package.scorer, route.arms[arm].guard
        if guard is not None and guard.reason:
            return None
        inputs = zip(scorer.signature.names, names, strict=True)
        given = {name: _array(_picked(request[column], positions)) for name, column in inputs}
        begun = time.perf_counter()
        try:
            with guard or nullcontext():
                scores = scorer.score(given).astype(np.float64)
        except Exception:  # noqa: BLE001  # a model is foreign code, and its errors share no base
            return None
        if not bool(np.isfinite(scores).all()):
            return None
        if kept is not None:
            scored_by(kept, begun, route, route.arms[arm], len(scores))
        shares.append(_Share(arm, positions, scores))
    return shares


def _by_arm(route: LoadedRoute, units: Sequence[str]) -> dict[int, _Positions]:
    if len(route.arms) == 1:
        return {0: slice(None)}
    chosen = np.fromiter((arm_for(route, unit) for unit in units), np.intp, len(units))
    return {int(arm): np.flatnonzero(chosen == arm) for arm in np.unique(chosen)}


def _typed(columns: Columns, schema: Schema) -> dict[str, Column] | None:
    """The columns of the request as its schema types them; ``None`` for what `RowType` might refuse, or types otherwise."""
    made: dict[str, Column] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        whole = _whole(columns.matrix)
        tensors = columns.by_name() if whole is None else columns.tensors
        known: dict[str, Column] = whole or {}
        if tensors.keys() | known.keys() != set(schema.names):
            return None
        for field in schema.fields:
            column = known[field.name] if field.name in known else _column(tensors[field.name], field)
            if column is None:
                return None
            made[field.name] = column
    return made


def _whole(matrix: Matrix | None) -> dict[str, Column] | None:
    """The columns of a matrix of which no number is missing or infinite, and so none of its columns has any."""
    if matrix is None or not _are_finite(matrix.values.reshape(-1)):
        return None
    return dict(zip(matrix.names, matrix.values, strict=True))


def _column(tensor: Tensor, field: Field) -> Column | None:
    values, datatype = tensor.values, tensor.datatype
    if isinstance(values, Numbered):
        return values if field.type is Type.STRING else None
    if isinstance(values, list):
        return values if field.type is Type.STRING and _are_texts(values, field) else None
    if field.type is Type.FLOAT and datatype in FLOATS:
        return _floats(values.astype(np.float32) if datatype == "FP16" else values, field)
    if field.type is Type.FLOAT and datatype in INTEGERS:
        return values.astype(np.float64)
    if field.type is Type.BOOL and datatype == "BOOL":
        return values
    if field.type not in (Type.INT, Type.TIMESTAMP) or datatype not in INTEGERS - {"UINT64"}:
        return None
    whole = values.astype(np.int64)
    in_calendar = not len(whole) or (int(whole.min()) >= 0 and int(whole.max()) <= LAST_MOMENT_MS)
    return whole if field.type is Type.INT or in_calendar else None


def _floats(values: NDArray[Any], field: Field) -> Column | None:
    if _are_finite(values):
        return values
    if not field.nullable or bool(np.isinf(values).any()):
        return None
    return [None if missing else value for missing, value in zip(np.isnan(values), values.tolist(), strict=True)]


def _are_finite(values: NDArray[Any]) -> bool:
    return math.isfinite(np.dot(values, values)) or bool(np.isfinite(values).all())  # a sum of squares may be too large


def _are_texts(values: Sequence[Any], field: Field) -> bool:
    """Whether all are texts of a length that may be, or missing where they may be; a half of a surrogate pair is none."""
    kinds = set(map(type, values))
    if type(None) in kinds:
        if not field.nullable:
            return False
        values = [value for value in values if value is not None]
        kinds.remove(type(None))
    if kinds - {str} or max(map(len, values), default=0) > MAX_TEXT:
        return False
    whole = "".join(values)
    return whole.isascii() or whole.isprintable()


def _units(keys: Column) -> Sequence[str]:
    if isinstance(keys, np.ndarray):
        return list(map(str, keys.tolist()))
    texts: Any = keys  # of a list that `_are_texts` has seen
    return texts


def _picked(column: Column, positions: _Positions) -> Column:
    if isinstance(positions, slice):
        return column
    return column[positions] if isinstance(column, np.ndarray) else [column[at] for at in positions]


def _array(column: Column) -> NDArray[Any]:
    """A column as scorers take it: a missing number is NaN."""
    if isinstance(column, np.ndarray):
        return column
    if any(isinstance(each, str) for each in column):
        array = np.empty(len(column), object)
        array[:] = column
        return array
    return np.array([np.nan if each is None else each for each in column], np.float64)
