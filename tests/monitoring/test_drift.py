import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from skyloom.monitoring.drift import DAY_MS, compare, distance, same_weekday, widened
from skyloom.monitoring.profile import Bins, ColumnProfile, bins_of, profile


def days(rng, count, rows=2_000, shift=0.0, missing=0.0, weights=(5, 3, 1)):
    """Daily windows with a little variation of their own."""
    found = []
    for _ in range(count):
        x = rng.normal(0.03 * rng.normal() + shift, 1, rows)
        x[rng.random(rows) < missing] = math.nan
        share = np.array(weights) * np.exp(0.03 * rng.normal(size=3))
        found.append(pa.table({"x": x, "c": rng.choice(["a", "b", "z"], rows, p=share / share.sum())}))
    return found


def setup(rng, windows=12, rows=2_000):
    tables = days(rng, windows, rows)
    bins = bins_of(pa.concat_tables(tables))
    return bins, [profile(each, bins) for each in tables]


@pytest.mark.parametrize("rows", [600, 2_000])
def test_without_drift_one_window_in_a_hundred_is_said_to_have_drifted_on_average(rows):
    rng = np.random.default_rng(1)
    found = []
    for _ in range(4):
        bins, references = setup(rng)
        found += [each for table in days(rng, 90, rows) for each in compare(profile(table, bins), references, bins)]
    assert len(found) == 4 * 90 * 2 * len(bins)
    assert sum(each.drifted for each in found) <= 0.01 * len(found)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"shift": 0.3}, ("x", "values")),
        ({"missing": 0.05}, ("x", "missing")),
        ({"weights": (1, 3, 5)}, ("c", "values")),
    ],
)
def test_a_real_change_is_seen_every_day_and_nothing_else(change, found):
    rng = np.random.default_rng(2)
    bins, references = setup(rng)
    for table in days(rng, 12, **change):
        assert [(e.column, e.aspect) for e in compare(profile(table, bins), references, bins) if e.drifted] == [found]


def test_large_windows_do_not_make_trifles_into_drift():
    rng = np.random.default_rng(3)
    bins, references = setup(rng, windows=2, rows=100_000)
    trifle = profile(pa.table({"x": rng.normal(0.03, 1, 100_000), "c": ["a"] * 100_000}), bins)
    values = {(each.column, each.aspect): each for each in compare(trifle, references, bins)}
    assert not values["x", "values"].drifted
    assert "sampling error alone" in values["x", "values"].rule
    assert values["c", "values"].drifted


def test_with_few_reference_windows_small_samples_rarely_drift():
    rng = np.random.default_rng(4)
    drifted, runs = 0, 200
    for _ in range(runs):
        reference = pa.table({"x": rng.normal(size=600), "c": rng.choice(list("abcdef"), 600)})
        current = pa.table({"x": rng.normal(size=600), "c": rng.choice(list("abcdef"), 600)})
        bins = bins_of(reference)
        drifted += any(each.drifted for each in compare(profile(current, bins), [profile(reference, bins)], bins))
    assert drifted <= 0.04 * runs


def test_too_few_rows_are_not_judged_and_windows_can_be_widened():
    rng = np.random.default_rng(5)
    bins, references = setup(rng)
    few = [profile(table, bins) for table in days(rng, 6, rows=200, shift=3.0)]
    assert not any(each.drifted for each in compare(few[-1], references, bins))
    assert all("not judged" in each.rule for each in compare(few[-1], references, bins))
    assert widened(few).rows == 600
    assert widened(few[:1]).rows == 200
    assert any(each.drifted for each in compare(widened(few), references, bins))
    assert not any(each.drifted for each in compare(few[0], [], bins))


def test_the_distance_is_that_of_kolmogorov_and_smirnov_up_to_a_bin():
    rng = np.random.default_rng(6)
    for shift in (0.0, 0.2, 1.0):
        one, other = rng.normal(size=3_000), rng.normal(shift, size=3_000)
        bins = bins_of(pa.table({"x": one}))
        measured = distance(bins["x"], *(profile(pa.table({"x": x}), bins).columns["x"] for x in (one, other)))
        exact = ks_2samp(one, other).statistic
        assert exact - 0.05 <= measured <= exact + 1e-9


def test_a_disjoint_category_is_as_far_as_can_be():
    bins = Bins(False, values=("a", "b"))
    assert distance(bins, ColumnProfile((5, 5, 0, 0), 3), ColumnProfile((0, 0, 0, 9), 0)) == 1.0


def test_the_reference_is_of_the_same_weekday():
    rng = np.random.default_rng(7)
    _, references = setup(rng, windows=3)
    windows = [(0, references[0]), (DAY_MS, references[1]), (7 * DAY_MS, references[2])]
    assert same_weekday(windows, 14 * DAY_MS) == [references[0], references[2]]
    assert same_weekday(windows, 100 * 7 * DAY_MS) == []
