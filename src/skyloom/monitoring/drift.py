"""Drift: one rule with two gates, so that of the windows of a column that did not change one in a hundred seems to drift.

It drifts when its distance to the reference is (a) beyond what the reference's own windows show among themselves, and beyond
the sampling error of its own rows, and (b) beyond an effect floor.
Distances: Kolmogorov-Smirnov over the reference's quantile bins, total variation for categories, the difference of rates
for missing values. Drift is shown to who looks: it never pages, and it never retrains by itself.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyloom.monitoring.profile import Bins, ColumnProfile, Profile, merge

DAY_MS = 86_400_000
FLOOR = 0.03
MISSING_FLOOR = 0.01
MIN_ROWS = 500
MIN_WINDOWS = 3
REFERENCE_WEEKS = 12
CONFIDENCE = 0.99
_SMALLEST = 1e-4


class ColumnDrift(msgspec.Struct, frozen=True):
    """What one window of a column shows. ``aspect`` is ``values`` or ``missing``; ``rule`` names the source of ``limit``."""

    column: str
    aspect: str
    distance: float
    limit: float
    drifted: bool
    rule: str


def compare(current: Profile, references: Sequence[Profile], bins: dict[str, Bins]) -> list[ColumnDrift]:
    """One window against the reference's windows (same weekday), column by column.

    The sampling error is that of the two samples at 99% (Kolmogorov-Smirnov bound, chi-squared). With fewer than three
    reference windows it is all there is for that, and knows nothing of the days' own variation; ``rule`` says so.
    """
    found: list[ColumnDrift] = []
    for name, each in bins.items():
        windows = [reference.columns[name] for reference in references]
        found += [_values(name, each, current.columns[name], windows), _missing(name, current.columns[name], windows)]
    return found


def same_weekday(windows: Sequence[tuple[int, Profile]], start_ms: int) -> list[Profile]:
    """Of daily windows (start in ms, profile) those of the same weekday within the twelve weeks before ``start_ms``."""
    weeks = [7 * DAY_MS * number for number in range(1, REFERENCE_WEEKS + 1)]
    return [each for start, each in windows if start_ms - start in weeks]


def widened(windows: Sequence[Profile]) -> Profile:
    """The newest of consecutive windows (oldest first), widened backwards until it has 500 rows."""
    taken = 1
    while taken < len(windows) and sum(each.rows for each in windows[-taken:]) < MIN_ROWS:
        taken += 1
    return merge(*windows[-taken:])


def distance(bins: Bins, one: ColumnProfile, other: ColumnProfile) -> float:
    """Kolmogorov-Smirnov over bins (numeric) or total variation (categorical), 0 to 1.

    >>> distance(Bins(False, values=("a",)), ColumnProfile((3, 0, 1), 0), ColumnProfile((4, 0, 0), 0))
    0.25
    """
    difference = _shares(one) - _shares(other)
    if bins.numeric:
        return float(np.abs(np.cumsum(difference)).max())
    return float(np.abs(difference).sum() / 2)


def _values(name: str, bins: Bins, current: ColumnProfile, windows: Sequence[ColumnProfile]) -> ColumnDrift:
    known = sum(current.counts)
    pooled = _pool(windows)
    if known < MIN_ROWS or pooled is None or not sum(pooled.counts):
        return _too_few(name, "values", known)
    measured = distance(bins, current, pooled)
    among = [distance(bins, each, rest) for each, rest in _leave_one_out(windows)]
    sampling = _ks_bound(known, sum(pooled.counts)) if bins.numeric else _chi_squared_bound(current, pooled)
    return _judged(name, "values", measured, max(FLOOR, sampling), among)


def _missing(name: str, current: ColumnProfile, windows: Sequence[ColumnProfile]) -> ColumnDrift:
    pooled = _pool(windows)
    if current.rows < MIN_ROWS or pooled is None or not pooled.rows:
        return _too_few(name, "missing", current.rows)
    measured = abs(current.missing_rate - pooled.missing_rate)
    among = [abs(each.missing_rate - rest.missing_rate) for each, rest in _leave_one_out(windows)]
    return _judged(name, "missing", measured, max(MISSING_FLOOR, _ks_bound(current.rows, pooled.rows)), among)


def prediction_limit(distances: Sequence[float]) -> float:
    """Below which the next distance lies with 99%: a one-sided t prediction interval on the distances' logarithms.

    >>> round(prediction_limit([0.02, 0.02, 0.02]), 6)
    0.02
    """
    from scipy.stats import t

    logs = np.log(np.maximum(np.asarray(distances), _SMALLEST))
    spread = float(logs.std(ddof=1)) * math.sqrt(1 + 1 / len(logs))
    return math.exp(float(logs.mean()) + float(t.ppf(CONFIDENCE, len(logs) - 1)) * spread)


def _ks_bound(rows: int, others: int) -> float:
    """Dvoretzky-Kiefer-Wolfowitz with Massart's constant, for two samples."""
    return math.sqrt(-math.log((1 - CONFIDENCE) / 2) / 2 * (1 / rows + 1 / others))


def _chi_squared_bound(current: ColumnProfile, pooled: ColumnProfile) -> float:
    """The distance that equal distributions reach in 1%: by Cauchy-Schwarz, no less than what chi-squared allows."""
    from scipy.stats import chi2

    used = int(((np.asarray(current.counts) + np.asarray(pooled.counts)) > 0).sum())
    statistic = float(chi2.ppf(CONFIDENCE, max(1, used - 1)))
    return math.sqrt(statistic * (1 / sum(current.counts) + 1 / sum(pooled.counts))) / 2


def _leave_one_out(windows: Sequence[ColumnProfile]) -> list[tuple[ColumnProfile, ColumnProfile]]:
    pairs: list[tuple[ColumnProfile, ColumnProfile]] = []
    for index, each in enumerate(windows):
        rest = _pool([*windows[:index], *windows[index + 1 :]])
        if rest is not None and sum(each.counts) and sum(rest.counts):
            pairs.append((each, rest))
    return pairs


def _pool(windows: Sequence[ColumnProfile]) -> ColumnProfile | None:
    if not windows:
        return None
    return merge(*(Profile({"": each}) for each in windows)).columns[""]


def _shares(column: ColumnProfile) -> NDArray[np.float64]:
    counts = np.asarray(column.counts, dtype=np.float64)
    return counts / max(1.0, float(counts.sum()))


def _judged(name: str, aspect: str, measured: float, least: float, among: Sequence[float]) -> ColumnDrift:
    """``least`` is the greater one of the effect floor and the sampling error; ``among`` the reference's own distances."""
    if len(among) < MIN_WINDOWS:
        rule = f"effect floor and sampling error alone: fewer than {MIN_WINDOWS} reference windows"
        return ColumnDrift(name, aspect, measured, least, measured > least, rule)
    limit = max(least, prediction_limit(among))
    return ColumnDrift(name, aspect, measured, limit, measured > limit, f"{len(among)} reference windows")


def _too_few(name: str, aspect: str, rows: int) -> ColumnDrift:
    return ColumnDrift(name, aspect, 0.0, math.inf, False, f"not judged: {rows} rows, {MIN_ROWS} needed, and a reference")
