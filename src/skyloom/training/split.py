"""A time-ordered split: what a model is judged on is newer than all that it was fitted on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.kernel.errors import TrainingError
from skyloom.kernel.records.registry import Split

HOLDOUT_SHARE = 0.2
ENOUGH = 500
"""As many labelled rows newer than the champion's data are judged on alone."""


def split_rows(times: NDArray[np.int64], after_ms: int | None = None) -> Split:
    """Split rows by their moments ``times`` (milliseconds, ascending): the last fifth is held out.

    With ``after_ms``, the newest moment that the champion saw, all that is newer is held out when there are 500 rows of
    it or more, so that neither model was fitted on what they are compared on. Rows of one moment stay together.

    Raises `TrainingError` when there is nothing to split.

    >>> split_rows(np.array([1, 2, 3, 4, 5])).cut_ms
    5
    """
    if not times.size:
        raise TrainingError("there is no row to learn from", fix="bring in rows and their outcomes")
    cut = _cut(times)
    if after_ms is not None and int((times > after_ms).sum()) >= ENOUGH and times[0] <= after_ms:
        cut = after_ms + 1
    train = int(np.searchsorted(times, cut))
    return Split(cut, train, times.size - train, int(times[0]), int(times[-1]))


def _cut(times: NDArray[np.int64]) -> int:
    """The first moment of the holdout: the one of its first row, or the next one when that would leave nothing to fit on."""
    cut = int(times[int(times.size * (1 - HOLDOUT_SHARE))])
    if cut > times[0]:
        return cut
    later = times[times > times[0]]
    if not later.size:
        raise TrainingError(
            "all rows are of one moment: nothing is left to judge the model on",
            tried=f"{times.size} rows",
            fix="bring in later rows",
        )
    return int(later[0])


def check_labels(labels: Any, split: Split, task: str) -> None:
    """Both sides of a binary split need both labels; `TrainingError` names the side that has but one."""
    if task != "binary":
        return
    values = np.asarray(labels)
    for side, part in (("training", values[: split.train_rows]), ("holdout", values[split.train_rows :])):
        true = int(part.sum())
        if true in (0, part.size):
            raise TrainingError(
                f"the {side} part has one class only: every label is {'true' if true else 'false'}",
                tried=f"{part.size} rows, {true} true, {part.size - true} false",
                fix="bring in more rows, or change what the label says",
            )
