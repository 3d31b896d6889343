"""Asks a version, and takes whatever it does for an answer: a score, or how it broke."""

import math
from collections.abc import Sequence
from contextlib import nullcontext

from skyloom.ingest.rows import Value
from skyloom.serving.loaded import LoadedArm

Scored = tuple[float | None, str | None]
"""One answer: a score, or how the version broke."""


def score_one(arm: LoadedArm, row: tuple[Value, ...]) -> Scored:
    """The answer of a version to one row, as `score_rows` gives it."""
    guard = arm.guard
    if guard is None:
        return score_rows(arm, (row,))[0]
    if reason := guard.reason:
        return None, reason
    guard.begin()
    try:
        score = arm.package.scorer.score_row(row)
    except Exception as error:  # noqa: BLE001  # as below
        return _raised(error)
    finally:
        guard.end()
    return (score, None) if math.isfinite(score) else _judged(score)


def score_rows(arm: LoadedArm, rows: Sequence[tuple[Value, ...]]) -> list[Scored]:
    """The answers of a version to rows of inputs. A version that raises, or is quarantined, has broken on all of them; it
    never raises here."""
    scorer, guard = arm.package.scorer, arm.guard or nullcontext()
    if arm.guard and (reason := arm.guard.reason):
        return [(None, reason)] * len(rows)
    try:
        with guard:
            scores = [scorer.score_row(rows[0])] if len(rows) == 1 else scorer.score_rows(rows)
    except Exception as error:  # noqa: BLE001  # a model is foreign code, and its errors share no base
        return [_raised(error)] * len(rows)
    return [_judged(score) for score in scores]


def _raised(error: Exception) -> Scored:
    return None, f"{type(error).__name__}: {error}"[:500]


def _judged(score: float) -> Scored:
    return (score, None) if math.isfinite(score) else (None, f"the model answered {score}")
