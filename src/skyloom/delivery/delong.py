"""The area under the ROC curve with its sampling error, alone and paired."""

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


class Estimate(msgspec.Struct, frozen=True):
    """A value and its standard error."""

    value: float
    error: float

    def lower(self, confidence: float = 0.95) -> float:
        """The one-sided lower bound, by the normal law."""
        return self.value - _quantile(confidence) * self.error

    def upper(self, confidence: float = 0.95) -> float:
        """The one-sided upper bound, by the normal law."""
        return self.value + _quantile(confidence) * self.error


def auc(labels: Numbers, scores: Numbers) -> Estimate:
    """The area under the ROC curve of ``scores`` [n] for ``labels`` [n] (0 or 1); both classes must be there.

    DeLong, DeLong and Clarke-Pearson (1988), by midranks as of Sun and Xu (2014): O(n log n).

    >>> auc(np.array([0.0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])).value
    0.75
    """
    positives, negatives = _placements(labels, scores)
    return Estimate(float(positives.mean()), _error(positives, negatives))


def auc_difference(labels: Numbers, challenger: Numbers, champion: Numbers) -> Estimate:
    """AUC of the challenger minus that of the champion on the same rows, with the error of the paired difference.

    >>> y, a, b = np.array([0.0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.1, 0.2, 0.3, 0.4])
    >>> auc_difference(y, a, b).value
    -0.25
    """
    ours, theirs = _placements(labels, challenger), _placements(labels, champion)
    positives, negatives = ours[0] - theirs[0], ours[1] - theirs[1]
    return Estimate(float(positives.mean()), _error(positives, negatives))


def _placements(labels: Numbers, scores: Numbers) -> tuple[Numbers, Numbers]:
    """For each positive the share of negatives below it, for each negative the share of positives above it (ties: 1/2)."""
    positive, negative = scores[labels > 0], scores[labels <= 0]
    return _share_below(positive, negative), 1.0 - _share_below(negative, positive)


def _share_below(values: Numbers, others: Numbers) -> Numbers:
    ordered = np.sort(others)
    below: Any = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return below / (2.0 * len(others))


def _error(positives: Numbers, negatives: Numbers) -> float:
    if len(positives) < 2 or len(negatives) < 2:
        return math.inf
    return math.sqrt(float(positives.var(ddof=1)) / len(positives) + float(negatives.var(ddof=1)) / len(negatives))


def _quantile(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(confidence)
