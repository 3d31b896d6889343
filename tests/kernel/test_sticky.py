"""Sticky routing: fair shares, stable units, ramps that only add."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.sticky import BUCKETS, arm_of, bucket_of, buckets_of


@given(st.text(), st.text())
def test_a_unit_keeps_its_bucket(salt: str, unit: str) -> None:
    bucket = bucket_of(salt, unit)
    assert bucket == bucket_of(salt, unit)
    assert 0 <= bucket < BUCKETS


@given(st.text(), st.lists(st.text()))
def test_many_units_have_the_buckets_of_each(salt: str, units: list[str]) -> None:
    assert buckets_of(salt, units) == [bucket_of(salt, unit) for unit in units]


@given(st.integers(0, BUCKETS - 1), st.lists(st.integers(0, BUCKETS), min_size=2, max_size=6).map(sorted))
def test_a_growing_canary_keeps_the_units_that_it_had(bucket: int, ramp: list[int]) -> None:
    arms = [arm_of(bucket, [share, BUCKETS - share]) for share in ramp]
    assert arms == sorted(arms, reverse=True)


@settings(max_examples=15)
@given(st.lists(st.integers(0, BUCKETS), max_size=4).map(sorted))
def test_every_bucket_is_in_one_arm_and_arms_have_their_shares(edges: list[int]) -> None:
    shares = [high - low for low, high in zip([0, *edges], [*edges, BUCKETS], strict=True)]
    arms = [arm_of(bucket, shares) for bucket in range(BUCKETS)]
    assert [arms.count(index) for index in range(len(shares))] == shares


@pytest.mark.parametrize("salt", ["r1", "r2", ""])
def test_units_spread_evenly(salt: str) -> None:
    """Pearson's chi-square over 100 cells of 200 expected units: 99 degrees of freedom, 0.9999 quantile 160."""
    cells = [0] * 100
    for number in range(20_000):
        cells[bucket_of(salt, f"UA{number}") // 100] += 1
    assert sum((count - 200) ** 2 / 200 for count in cells) < 160


def test_salts_shuffle_independently() -> None:
    """Of the units in one rollout's 10%, about 10% are in the next one's: 1,000 expected, six standard deviations."""
    units = [f"u{number}" for number in range(100_000)]
    both = sum(bucket_of("a", unit) < 1000 and bucket_of("b", unit) < 1000 for unit in units)
    assert abs(both - 1000) < 6 * 1000**0.5


def test_salt_and_unit_do_not_run_together() -> None:
    assert bucket_of("a", "bc") != bucket_of("ab", "c")


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="shares add up to 9000, not to 10000"):
        arm_of(9500, [500, 8500])
