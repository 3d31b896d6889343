"""What tensors are answered with: the predictions of many rows, by column."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skyloom.serving.predict import Prediction


class Answers(NamedTuple):
    """``scores`` float64 [n]; ``labels`` bool [n], where the task has any; the ids of the receipts; who answered."""

    scores: NDArray[np.float64]
    labels: NDArray[np.bool_] | None
    receipts: Sequence[str]
    versions: frozenset[int]


def answers_of(found: Sequence[Prediction]) -> Answers:
    """The answers that single predictions are."""
    labels: Any = None if any(each.label is None for each in found) else np.array([each.label for each in found], bool)
    return Answers(
        np.array([each.score for each in found], np.float64),
        labels,
        [each.id for each in found],
        frozenset(each.version for each in found),
    )
