"""What a model's scores of the holdout say: metrics, beside always saying the same, and slice by slice."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skyloom.package.signature import Signature
from skyloom.package.tables import texts
from skyloom.training.metrics import Bin, calibration, measure

MOST_SLICES = 20


class Slice(msgspec.Struct, frozen=True):
    """The rows of one value of one column: how many, their mean label, their mean score and their metrics."""

    column: str
    value: str | None
    rows: int
    mean_label: float
    mean_score: float
    metrics: dict[str, float]


class Evaluation(msgspec.Struct, frozen=True):
    """``base`` holds the metrics of the constant that the training part's mean label is."""

    rows: int
    metrics: dict[str, float]
    base: dict[str, float]
    base_score: float
    calibration: tuple[Bin, ...]
    slices: tuple[Slice, ...]


def evaluate(table: pa.Table, labels: Any, scores: Any, signature: Signature, base_score: float) -> Evaluation:
    """Judge the ``scores`` [rows] of the holdout ``table``, whose labels are ``labels`` [rows]."""
    y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    columns = [each.name for each in signature.inputs if each.is_text]
    return Evaluation(
        rows=y.size,
        metrics=_finite(measure(y, s, signature.task)),
        base=_finite(measure(y, np.full(y.size, base_score), signature.task)),
        base_score=base_score,
        calibration=calibration(y, s) if signature.task == "binary" else (),
        slices=tuple(each for name in columns for each in _slices(name, texts(table[name]), (y, s), signature.task)),
    )


def _slices(
    column: str, values: NDArray[Any], judged: tuple[NDArray[np.float64], NDArray[np.float64]], task: str
) -> list[Slice]:
    """The most frequent values of a column, most frequent first."""
    y, s = judged
    names = np.array([f"={value}" if value else "" for value in values])
    found, place, count = np.unique(names, return_inverse=True, return_counts=True)
    slices: list[Slice] = []
    for at in np.argsort(-count, kind="stable")[:MOST_SLICES]:
        rows = place == at
        metrics = _finite(measure(y[rows], s[rows], task))
        value = str(found[at])[1:] or None
        slices.append(Slice(column, value, int(count[at]), float(y[rows].mean()), float(s[rows].mean()), metrics))
    return slices


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics that these labels allow."""
    return {name: value for name, value in metrics.items() if np.isfinite(value)}
