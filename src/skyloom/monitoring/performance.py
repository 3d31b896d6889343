"""Performance by the moment of prediction, shown only with how much of it is known. Unlabelled is never "false"."""

import math
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyloom.kernel.records.prediction import Outcome

_MATURE = 0.95


class Cohort(msgspec.Struct, frozen=True):
    """The predictions of one version and arm that were made within ``[start_ms, end_ms)``.

    ``coverage`` is the share of them with a label; ``mature`` says that the youngest is older than the 95% quantile of the
    labels' delays (or than their bound). Metrics are over the labelled predictions with a score, ``None`` when they have no
    meaning: ``roc_auc``, ``brier`` and ``base_rate`` for a binary label, ``mae`` and ``rmse`` for a regression.
    """

    version: int
    arm: str
    start_ms: int
    end_ms: int
    predictions: int
    labelled: int
    mature: bool
    metrics: dict[str, float | None]

    @property
    def coverage(self) -> float:
        """The share of predictions with a label, 0 to 1."""
        return self.labelled / self.predictions


def performance(outcomes: Iterable[Outcome], task: str, cohort_ms: int, now_ms: int, within_ms: int) -> list[Cohort]:
    """Cohorts of ``cohort_ms``, by start, version and arm. ``within_ms`` is the bound within which labels come.

    ``outcomes`` are in their order; a label whose prediction is not among them (they begin later) is left out.

    >>> served = Outcome("served", "r", "m", 1, "champion", "u", 5, 0.8, 1.0)
    >>> [cohort] = performance([served], "binary", 10, 20, 100)
    >>> cohort.coverage, cohort.mature, cohort.metrics["brier"]
    (0.0, False, None)
    """
    served: dict[tuple[int, int, str], int] = {}
    labelled: dict[tuple[int, int, str], list[Outcome]] = {}
    delays: list[int] = []
    seen: set[str] = set()
    for outcome in outcomes:
        cell = outcome.at_ms // cohort_ms, outcome.version, outcome.arm
        if outcome.kind == "served":
            served[cell] = served.get(cell, 0) + 1
            seen.add(outcome.receipt)
        elif outcome.receipt in seen and outcome.label is not None and outcome.labelled_ms is not None:
            labelled.setdefault(cell, []).append(outcome)
            delays.append(max(0, outcome.labelled_ms - outcome.at_ms))
    wait_ms = min(within_ms, float(np.quantile(delays, _MATURE))) if delays else within_ms
    cohorts: list[Cohort] = []
    for cell in sorted(served):
        known = labelled.get(cell, [])
        end_ms = (cell[0] + 1) * cohort_ms
        mature = end_ms + wait_ms <= now_ms
        metrics = measured(known, task)
        cohorts.append(Cohort(cell[1], cell[2], cell[0] * cohort_ms, end_ms, served[cell], len(known), mature, metrics))
    return cohorts


def measured(labelled: Iterable[Outcome], task: str) -> dict[str, float | None]:
    """The metrics of labelled outcomes; answers without a score are left out."""
    pairs = [(o.label, o.score) for o in labelled if o.label is not None and o.score is not None and not math.isnan(o.score)]
    labels, scores = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    if task != "binary":
        errors = scores - labels
        return {"mae": _mean(np.abs(errors)), "rmse": None if not pairs else math.sqrt(float((errors**2).mean()))}
    return {"roc_auc": _auc(labels, scores), "brier": _mean((scores - labels) ** 2), "base_rate": _mean(labels)}


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _auc(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float | None:
    """The share of (true, false) pairs in the right order, ties half, counted by distinct score."""
    distinct, place = np.unique(scores, return_inverse=True)
    true = np.bincount(place[labels > 0], minlength=len(distinct))
    false = np.bincount(place[labels <= 0], minlength=len(distinct))
    pairs = int(true.sum()) * int(false.sum())
    return float(true @ (np.cumsum(false) - false / 2)) / pairs if pairs else None
