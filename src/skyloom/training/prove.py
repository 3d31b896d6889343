"""Proves a conversion: the original and the package answer the same rows, or the package is refused.

Asked are rows of the training sample, those whose score is nearest to the threshold, and rows that were spoilt on
purpose: each column missing, and each column of strings holding a text that nobody saw.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyloom.kernel.errors import PackageError
from skyloom.package.scorer import Scorer
from skyloom.training.predict import columns_of_frame, predict

SAMPLE, NEAR, SPOILT = 5_000, 500, 50
TOLERANCE = 1e-5
NEXT_TO_THRESHOLD = 1e-6
UNSEEN = "\u2047 never seen"


class Proof(msgspec.Struct, frozen=True):
    """How far the package is from the original at most, over how many rows; ``flips`` counts labels that differ.

    ``tolerance`` is 1e-5 of a probability, or of the largest value of a regression. ``notes`` tell which rows the
    original itself refuses to answer.
    """

    rows: int
    max_difference: float
    flips: int
    tolerance: float
    notes: tuple[str, ...] = ()


def prove(model: Any, scorer: Scorer, X: Any, threshold: float) -> Proof:
    """Compare ``model`` with its package ``scorer`` on rows of ``X``, the training part.

    Raises `PackageError`, naming the column at fault, when a score differs by more than the tolerance or a label flips
    whose score is not within 1e-6 of the threshold.
    """
    parts, notes = [_sample(model, scorer, X, threshold)], list[str]()
    for what, rows in _spoilt(scorer, X):
        try:
            predict(model, rows, scorer.signature)
        except Exception as error:  # the user's model refuses in its own way
            if UNSEEN in what:
                raise _refuses_unseen(model, what, error) from error
            notes.append(f"the model refuses rows with {what}: {str(error).splitlines()[0]}")
        else:
            parts.append(rows)
    rows = _stacked(parts)
    original, packaged = _answers(model, scorer, rows)
    tolerance = TOLERANCE * max(1.0, float(np.abs(original).max())) if scorer.signature.task != "binary" else TOLERANCE
    difference = np.abs(original - packaged)
    flips = _flips(original, packaged, threshold) if scorer.signature.task == "binary" else np.zeros(len(rows), bool)
    if not (difference <= tolerance).all() or flips.any():
        raise _refusal(model, scorer, rows, np.where(flips, np.inf, difference))
    return Proof(len(rows), float(difference.max()), int(flips.sum()), tolerance, tuple(notes))


def _answers(model: Any, scorer: Scorer, rows: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    packaged = scorer.score(columns_of_frame(rows, scorer.signature)).astype(np.float64)
    return predict(model, rows, scorer.signature), packaged


def _flips(original: NDArray[np.float64], packaged: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    decided = np.abs(original - threshold) >= NEXT_TO_THRESHOLD
    return decided & ((original >= threshold) != (packaged >= threshold))


def _sample(model: Any, scorer: Scorer, X: Any, threshold: float) -> Any:
    """Up to 5,000 rows spread over X, and the 500 whose score is nearest to the threshold."""
    spread = np.unique(np.linspace(0, len(X) - 1, min(SAMPLE, len(X))).astype(int))
    try:
        scores = predict(model, X, scorer.signature)
    except Exception as error:
        fix = "let it predict on X as it was given to the training function"
        raise PackageError(f"the model cannot answer X: {type(error).__name__}: {error}", fix=fix) from error
    if scores.shape != (len(X),):
        raise PackageError(f"the model gives scores of shape {scores.shape} for {len(X)} rows", fix="let it give one a row")
    near = np.argsort(np.abs(scores - threshold), kind="stable")[:NEAR]
    return X.iloc[np.union1d(spread, near)]


def _spoilt(scorer: Scorer, X: Any) -> list[tuple[str, Any]]:
    """What was done to rows of X, and these rows."""
    some = X.iloc[np.unique(np.linspace(0, len(X) - 1, min(SPOILT, len(X))).astype(int))]
    made: list[tuple[str, Any]] = []
    for each in scorer.signature.inputs:
        values: list[tuple[str, Any]] = [(f"{each.name} missing", None)]
        if each.is_text:
            values.append((f"{each.name} {UNSEEN}", UNSEEN))
        for what, value in values:
            made.append((what, some.assign(**{each.name: _constant(some[each.name], value)})))
    return made


def _constant(column: Any, value: str | None) -> Any:
    """A column of the same kind that holds ``value`` throughout."""
    import pandas as pd

    if not isinstance(column.dtype, pd.CategoricalDtype):
        return np.full(len(column), np.nan, np.float32)
    categories = [*column.cat.categories, *([] if value is None else [value])]
    return pd.Categorical([value] * len(column), categories=categories)


def _stacked(parts: list[Any]) -> Any:
    """The rows of all parts, the categories of each column united in the order of the first."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in parts[0].columns:
        first = parts[0][name]
        if isinstance(first.dtype, pd.CategoricalDtype):
            categories = dict.fromkeys(value for part in parts for value in part[name].cat.categories)
            texts = np.concatenate([part[name].astype(object).to_numpy() for part in parts])
            columns[name] = pd.Categorical(texts, categories=list(categories))
        else:
            columns[name] = np.concatenate([part[name].to_numpy() for part in parts])
    return pd.DataFrame(columns)


def _refuses_unseen(model: Any, what: str, error: Exception) -> PackageError:
    column = what.removesuffix(f" {UNSEEN}")
    return PackageError(
        f"{type(model).__name__} cannot answer a {column} that it has never seen, and such requests will come",
        tried=str(error).splitlines()[0],
        fix='OneHotEncoder(handle_unknown="ignore"), or LightGBM on X as it is given',
    )


def _refusal(model: Any, scorer: Scorer, rows: Any, badness: NDArray[np.float64]) -> PackageError:
    """The error for the worst row, with the column at fault."""
    worst, best = int(np.argmax(np.nan_to_num(badness, nan=np.inf))), int(np.nanargmin(badness))
    original, packaged = (answer[0] for answer in _answers(model, scorer, rows.iloc[[worst]]))
    column, rest = column_at_fault(lambda X: _answers(model, scorer, X), rows.iloc[[worst]], rows.iloc[[best]])
    value = rows[column].iloc[worst]
    return PackageError(
        f"the package of {type(model).__name__} does not answer as the original does: {packaged!r} instead of {original!r}",
        tried=f"{column} = {value!r} is at fault: with another row's value the difference is {rest:.2g}",
        fix=f"bring {column} into a range that float32 holds (subtract an offset, divide) as a feature, or leave it out",
    )


def column_at_fault(
    answers: Callable[[Any], tuple[NDArray[np.float64], NDArray[np.float64]]], worst: Any, best: Any
) -> tuple[str, float]:
    """The column whose value, taken from the row ``best``, brings the two answers of the row ``worst`` nearest together."""
    left: dict[str, float] = {}
    for column in worst.columns:
        original, packaged = answers(worst.assign(**{column: best[column].to_numpy()}).astype({column: worst[column].dtype}))
        left[column] = float(np.nan_to_num(np.abs(original - packaged)[0], nan=np.inf))
    column = min(left, key=left.__getitem__)
    return column, left[column]
