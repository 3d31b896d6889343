"""Metrics other than the AUC, compared on the same rows by a paired bootstrap."""

from collections.abc import Callable

import msgspec
import numpy as np

from skyloom.delivery.delong import Numbers
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.ids import nearest

RESAMPLES = 1_000
SEED = 20_130_401
_SMALLEST = 1e-7

Weighted = Callable[[Numbers], float]


class Interval(msgspec.Struct, frozen=True):
    """An improvement (above 0: the challenger is better) and its one-sided 95% lower bound."""

    value: float
    lower: float


def metric_of(metric: str, labels: Numbers, scores: Numbers) -> float:
    """One metric in its own unit: ``brier``, ``log_loss``, ``average_precision``, ``mae`` or ``rmse``.

    Raises `DeclarationError` for a metric that nobody knows.

    >>> metric_of("brier", np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    0.25
    """
    return _metric(metric, labels, scores)(np.ones(len(labels)))


def improvement(metric: str, labels: Numbers, challenger: Numbers, champion: Numbers) -> Interval:
    """How much better the challenger is than the champion on the same rows [n], whichever way the metric points.

    Percentile bootstrap with 1,000 resamples of rows and a fixed seed: the same evidence, the same answer.
    """
    ours, theirs = _metric(metric, labels, challenger), _metric(metric, labels, champion)
    sign = 1.0 if higher_is_better(metric) else -1.0
    ones = np.ones(len(labels))
    random = np.random.default_rng(SEED)
    differences = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        drawn = random.integers(0, len(labels), len(labels))
        weights = np.bincount(drawn, minlength=len(labels)).astype(np.float64)
        differences[index] = sign * (ours(weights) - theirs(weights))
    return Interval(sign * (ours(ones) - theirs(ones)), float(np.quantile(differences, 0.05)))


def higher_is_better(metric: str) -> bool:
    """Whether a greater value of the metric is the better one."""
    return metric in {"roc_auc", "average_precision"}


def _metric(metric: str, labels: Numbers, scores: Numbers) -> Weighted:
    known = {
        "brier": _brier,
        "log_loss": _log_loss,
        "average_precision": _average_precision,
        "mae": _mae,
        "rmse": _rmse,
    }
    if metric not in known:
        names = ["roc_auc", *known]
        raise DeclarationError(
            f"no gate can judge the metric {metric!r}",
            tried=", ".join(names),
            fix=f"name one of them, such as {next(iter(nearest(metric, names)), 'roc_auc')}",
        )
    return known[metric](labels, scores)


def _mean_of(losses: Numbers) -> Weighted:
    return lambda weights: float(weights @ losses / weights.sum())


def _brier(labels: Numbers, scores: Numbers) -> Weighted:
    return _mean_of((scores - labels) ** 2)


def _log_loss(labels: Numbers, scores: Numbers) -> Weighted:
    safe = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    return _mean_of(-np.where(labels > 0, np.log(safe), np.log1p(-safe)))


def _mae(labels: Numbers, scores: Numbers) -> Weighted:
    return _mean_of(np.abs(scores - labels))


def _rmse(labels: Numbers, scores: Numbers) -> Weighted:
    mean_square = _mean_of((scores - labels) ** 2)
    return lambda weights: float(np.sqrt(mean_square(weights)))


def _average_precision(labels: Numbers, scores: Numbers) -> Weighted:
    """Sum over thresholds of precision times the gain in recall; equal scores share one threshold."""
    order = np.argsort(-scores, kind="stable")
    truth = labels[order] > 0
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))

    def value(weights: Numbers) -> float:
        ordered = weights[order]
        hits = np.cumsum(ordered * truth)[last]
        seen = np.cumsum(ordered)[last]
        precision = np.divide(hits, seen, out=np.zeros(len(last)), where=seen > 0)
        return float(precision @ np.diff(hits, prepend=0.0) / hits[-1]) if hits[-1] > 0 else 0.0

    return value
