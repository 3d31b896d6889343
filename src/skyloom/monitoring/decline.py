"""Whether a version answers worse than it did on its holdout: by labels that have matured, or, without labels, by estimate.

Judged are the ROC AUC of a model that ranks, the Brier score of one that is to be calibrated, the mean absolute or the
squared error of a regression. A loss of quality is told when its one-sided 99% bound is above nothing *and* it is at
least an effect floor (0.01 of the AUC, 5% of an error): many labels make every difference significant.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyloom.kernel.records.prediction import Outcome
from skyloom.monitoring.performance import measured

MIN_LABELS = 500
AUC_FLOOR = 0.01
ERROR_FLOOR = 0.05
MATURE = 0.95
_Z99 = 2.326

Floats = NDArray[np.float64]


class Promise(msgspec.Struct, frozen=True):
    """What the holdout said: its ``rows``, its metrics, its rate of true labels and, for a binary model, the calibration:
    (mean score, rate) of bins, by score."""

    rows: int
    metrics: dict[str, float]
    base_rate: float | None = None
    calibration: tuple[tuple[float, float], ...] = ()


class Decline(msgspec.Struct, frozen=True):
    """A metric as it was promised and as it is; ``loss`` above 0 is worse, ``least`` its lower 99% bound."""

    metric: str
    promised: float
    now: float
    loss: float
    least: float
    rows: int
    declined: bool


class Matured(msgspec.Struct, frozen=True):
    """Labelled outcomes whose predictions are old enough that slow labels are not missing among them; ``delay_ms`` is the
    95% quantile of the labels' delays."""

    outcomes: tuple[Outcome, ...]
    delay_ms: int


def matured(outcomes: Sequence[Outcome], version: int, after_ms: int, now_ms: int, within_ms: int) -> Matured:
    """Of ``outcomes`` the labelled ones of answers of ``version`` to requests later than ``after_ms``, once mature.

    Shadow answers count too: they are the version's own, on the same requests. ``within_ms`` bounds the labels' delays.
    """
    known = [
        (outcome, max(0, outcome.labelled_ms - outcome.at_ms))
        for outcome in outcomes
        if outcome.version == version and outcome.label is not None and outcome.labelled_ms is not None
    ]
    delays = [delay for _, delay in known]
    delay_ms = min(within_ms, round(float(np.quantile(delays, MATURE)))) if delays else within_ms
    young = now_ms - delay_ms
    kept = (each for each, _ in known if after_ms < each.at_ms <= young and _scored(each))
    return Matured(tuple(kept), delay_ms)


def realised(outcomes: Sequence[Outcome], promise: Promise, metrics: Sequence[str], task: str) -> Decline | None:
    """How labelled outcomes compare with the holdout; ``None`` when they cannot say (one class only, or fewer than 500)."""
    if len(outcomes) < MIN_LABELS:
        return None
    metric = judged_metric(metrics, task)
    now, promised = measured(outcomes, task)[metric], promise.metrics.get(metric)
    if now is None or promised is None:
        return None
    labels = np.array([outcome.label for outcome in outcomes], np.float64)
    scores = np.array([outcome.score for outcome in outcomes], np.float64)
    if metric == "roc_auc":
        error = math.hypot(
            auc_error(now, labels.sum(), (1 - labels).sum()), auc_error(promised, *_classes(promise.rows, promise.base_rate))
        )
        return _ranked(promised, now, error, len(labels))
    return _lost(metric, promised, np.abs(scores - labels), promise.rows)


def estimated(scores: Sequence[float], promise: Promise, metrics: Sequence[str], task: str) -> Decline | None:
    """The same without labels: what the scores, calibrated on the holdout, say of their own quality.

    Confidence-based estimation: it sees a shift of the inputs, and is blind to one of what the inputs mean. ``None`` for a
    regression, where scores say nothing of their errors, and for fewer than 500 scores.
    """
    if task != "binary" or len(scores) < MIN_LABELS or not promise.calibration:
        return None
    raw = np.asarray(scores, np.float64)
    bins = np.array(promise.calibration)
    chance = np.interp(raw, bins[:, 0], bins[:, 1])
    if judged_metric(metrics, task) == "roc_auc" and "roc_auc" in promise.metrics:
        now, promised = expected_auc(raw, chance), promise.metrics["roc_auc"]
        error = math.hypot(
            auc_error(now, chance.sum(), (1 - chance).sum()), auc_error(promised, *_classes(promise.rows, promise.base_rate))
        )
        return _ranked(promised, now, error, len(raw))
    if "brier" not in promise.metrics:
        return None
    losses = np.sqrt(chance * (1 - raw) ** 2 + (1 - chance) * raw**2)
    return _lost("brier", promise.metrics["brier"], losses, promise.rows)


def judged_metric(metrics: Sequence[str], task: str) -> str:
    """Which metric is watched, from those that a model declares (the first is its own).

    >>> judged_metric(["average_precision"], "binary"), judged_metric(["r2"], "regression")
    ('roc_auc', 'rmse')
    """
    first = metrics[0] if metrics else ""
    if task == "binary":
        return "brier" if first in ("brier", "log_loss", "ece") else "roc_auc"
    return "mae" if first == "mae" else "rmse"


def auc_error(auc: float, true: float, false: float) -> float:
    """The standard error of an AUC from ``true`` and ``false`` rows: Hanley and McNeil (1982).

    >>> round(auc_error(0.8, 100, 900), 4)
    0.0272
    """
    if true < 1 or false < 1:
        return math.inf
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (true - 1) * (one - auc**2) + (false - 1) * (two - auc**2)
    return math.sqrt(max(0.0, spread) / (true * false))


def expected_auc(scores: Floats, chance: Floats) -> float:
    """The AUC to be expected of ``scores`` [n] when row i is true with the chance ``chance[i]``; ties count half.

    >>> expected_auc(np.array([0.1, 0.9]), np.array([0.0, 1.0]))
    1.0
    """
    distinct, place = np.unique(scores, return_inverse=True)
    true, false = np.bincount(place, chance, len(distinct)), np.bincount(place, 1 - chance, len(distinct))
    pairs = true.sum() * false.sum()
    return float(true @ (np.cumsum(false) - false / 2) / pairs) if pairs else 0.5


def _ranked(promised: float, now: float, error: float, rows: int) -> Decline:
    loss = promised - now
    least = loss - _Z99 * error
    return Decline("roc_auc", promised, now, loss, least, rows, loss >= AUC_FLOOR and least > 0)


def _lost(metric: str, promised: float, distances: Floats, promised_rows: int) -> Decline:
    """By the mean of losses; the holdout's rows are taken to spread as these do. Of a root the square is compared."""
    losses = distances if metric == "mae" else distances**2
    before = promised**2 if metric == "rmse" else promised
    mean, error = float(losses.mean()), float(losses.std(ddof=1)) * math.sqrt(1 / len(losses) + 1 / promised_rows)
    least = mean - before - _Z99 * error
    now = math.sqrt(mean) if metric == "rmse" else mean
    declined = now >= promised * (1 + ERROR_FLOOR) and least > 0
    return Decline(metric, promised, now, now - promised, least, len(losses), declined)


def _classes(rows: int, base_rate: float | None) -> tuple[float, float]:
    rate = 0.5 if base_rate is None else base_rate
    return rows * rate, rows * (1 - rate)


def _scored(outcome: Outcome) -> bool:
    return outcome.score is not None and math.isfinite(outcome.score)
