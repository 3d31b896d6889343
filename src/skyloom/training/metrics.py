"""How good scores are: metrics, the calibration table and slices.

Definitions: ROC AUC as the share of (true, false) pairs in the right order, ties half; average precision as the sum of
precisions weighted by the steps of recall; Brier (1950) as the mean squared error of the probability; the expected
calibration error of Naeini et al. (2015) over ten bins of equal size.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyloom.kernel.errors import TrainingError
from skyloom.kernel.ids import nearest

Floats = NDArray[np.float64]

BINS = 10
_LEAST = 1e-15  # a probability of 0 or 1 that is wrong costs 34.5, not infinity


class Bin(msgspec.Struct, frozen=True):
    """Rows of similar score: their number, their mean score and their rate of true labels."""

    rows: int
    mean_score: float
    rate: float


def calibration(labels: Floats, scores: Floats) -> tuple[Bin, ...]:
    """Ten bins of equally many rows, by score; rows of one score may fall into two bins.

    >>> calibration(np.array([0.0, 1.0]), np.array([0.2, 0.9]))[0]
    Bin(rows=1, mean_score=0.2, rate=0.0)
    """
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if part.size]
    return tuple(Bin(part.size, float(scores[part].mean()), float(labels[part].mean())) for part in parts)


def ece(labels: Floats, scores: Floats) -> float:
    """The expected calibration error: how far a bin's mean score is from its rate, weighted by rows."""
    bins = calibration(labels, scores)
    return sum(each.rows * abs(each.mean_score - each.rate) for each in bins) / labels.size


def roc_auc(labels: Floats, scores: Floats) -> float:
    """The chance that a true row scores above a false one, ties half; NaN when there is one class only."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2
    true = labels == 1
    n_true, n_false = int(true.sum()), int((~true).sum())
    if not n_true or not n_false:
        return float("nan")
    return float((ranks[place][true].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))


def average_precision(labels: Floats, scores: Floats) -> float:
    """The mean of the precisions at each true row, rows of one score taken together; NaN without a true row."""
    values, place = np.unique(-scores, return_inverse=True)
    true = np.cumsum(np.bincount(place, labels, values.size))
    precision = true / np.cumsum(np.bincount(place, minlength=values.size))
    steps = np.diff(true, prepend=0.0)
    return float((precision * steps).sum() / true[-1]) if true[-1] else float("nan")


def brier(labels: Floats, scores: Floats) -> float:
    """The mean squared distance of the probability from the label."""
    return float(np.mean((scores - labels) ** 2))


def log_loss(labels: Floats, scores: Floats) -> float:
    """The mean of minus the logarithm of the probability that was given to what happened."""
    held = np.clip(scores, _LEAST, 1 - _LEAST)
    return float(-np.mean(np.where(labels == 1, np.log(held), np.log1p(-held))))


def mae(labels: Floats, scores: Floats) -> float:
    """The mean absolute error, in the label's unit."""
    return float(np.mean(np.abs(scores - labels)))


def rmse(labels: Floats, scores: Floats) -> float:
    """The root of the mean squared error, in the label's unit."""
    return float(np.sqrt(np.mean((scores - labels) ** 2)))


def r2(labels: Floats, scores: Floats) -> float:
    """The share of the labels' variance that the scores explain; NaN when the labels do not vary."""
    spread = float(((labels - labels.mean()) ** 2).sum())
    return 1 - float(((scores - labels) ** 2).sum()) / spread if spread else float("nan")


Metric = Callable[[Floats, Floats], float]

METRICS: dict[str, dict[str, Metric]] = {
    "binary": {
        "roc_auc": roc_auc,
        "average_precision": average_precision,
        "brier": brier,
        "log_loss": log_loss,
        "ece": ece,
    },
    "regression": {"rmse": rmse, "mae": mae, "r2": r2},
}
MORE_IS_BETTER = frozenset({"roc_auc", "average_precision", "r2"})


def metric_named(name: str, task: str) -> Metric:
    """The metric of that name; `TrainingError` with the nearest names when the task has none such."""
    known = METRICS[task]
    if name not in known:
        near = nearest(name, list(known)) or list(known)
        raise TrainingError(
            f"a {task} model has no metric {name!r}", tried=", ".join(known), fix=f"did you mean {' or '.join(near)}?"
        )
    return known[name]


def measure(labels: Any, scores: Any, task: str) -> dict[str, float]:
    """All metrics of the task. ``labels`` and ``scores`` are [rows]."""
    y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    return {name: metric(y, s) for name, metric in METRICS[task].items()}
