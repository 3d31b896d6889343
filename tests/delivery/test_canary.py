"""The sequential test by simulation: the simulators know nothing of the formulas they judge."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.delivery.canary import (
    HARM_RATIOS,
    SHARE_RATIOS,
    GuardMemory,
    Limits,
    add_event,
    floor_evidence,
    harm,
    harm_limit,
    is_bad,
    is_harmful,
    is_safe,
    observe,
    shadow_harm,
    shares_broken,
)
from skyloom.kernel.records.prediction import Outcome
from skyloom.kernel.records.release import Guard
from skyloom.kernel.sticky import bucket_of

LIMIT = harm_limit(3)
RAMP = (100, 500, 2_500, 5_000)


def served(unit, arm="champion", *, score=0.5, latency_ms=1.0, error=None, version=1):
    return Outcome("served", f"r-{unit}", "m", version, arm, unit, 0, score, latency_ms, error=error)


def follow(rng, requests, rates, *, units=None, ramp=RAMP, stop=None):
    """Requests of sticky units through a ramp: bad at the arm's rate. The guard, and when ``stop`` held."""
    guard, memory, salt = Guard("errors"), GuardMemory(), str(rng.integers(1 << 60))
    bad = rng.random(requests)
    for number in range(requests):
        share = ramp[number * len(ramp) // requests]
        unit = str(number if units is None else rng.integers(units))
        canary = bucket_of(salt, unit) < share
        guard = observe(guard, memory, served(unit, "canary" if canary else "champion"), bad[number] < rates[canary], share)
        if stop is not None and stop(guard):
            return guard, number + 1
    return guard, None


def test_equal_arms_are_rolled_back_in_at_most_one_percent():
    rng = np.random.default_rng(1)
    harmed = 0
    for _ in range(1_000):
        guard = Guard("errors")
        for number in range(120):
            rho = RAMP[number // 30] / 10_000
            guard = add_event(guard, bool(rng.random() < rho), rho, HARM_RATIOS)
            if is_harmful(guard, LIMIT):
                harmed += 1
                break
    assert harmed <= 10


def test_equal_arms_of_returning_units_are_rolled_back_in_at_most_one_percent():
    rng = np.random.default_rng(2)
    runs = [follow(rng, 1_500, (0.1, 0.1), units=300, stop=lambda guard: is_harmful(guard, LIMIT))[1] for _ in range(150)]
    assert sum(stopped is not None for stopped in runs) <= 3


def test_a_version_worse_by_the_margin_is_called_safe_in_at_most_five_percent():
    rng = np.random.default_rng(3)
    runs, requests = 500, 2_000
    share = np.repeat(RAMP, requests // len(RAMP))
    promoted = 0
    for _ in range(runs):
        canary = rng.random(requests) < share / 10_000
        bad = np.flatnonzero(rng.random(requests) < np.where(canary, 0.3, 0.2))
        guard, memory = Guard("wrong_label"), GuardMemory()
        for number in bad:
            arm = "canary" if canary[number] else "champion"
            guard = observe(guard, memory, served(str(number), arm), True, int(share[number]))
            if guard.log_safe >= math.log(20):
                promoted += 1
                break
    assert promoted <= 0.05 * runs + 2 * math.sqrt(0.05 * 0.95 * runs)


def test_returning_units_do_not_make_a_worse_version_look_safe():
    """Few units that all meet their first event sooner or later: first events alone would call the arms equal."""
    rng = np.random.default_rng(4)
    runs = [follow(rng, 1_600, (0.2, 0.3), units=400, ramp=(500, 5_000), stop=is_safe)[1] for _ in range(60)]
    assert sum(stopped is not None for stopped in runs) <= 6


def test_a_rate_at_the_floor_is_called_lower_in_at_most_five_percent():
    rng = np.random.default_rng(4)
    runs = 1_500
    bad = rng.random((runs, 1_600)) < 0.005
    crossed = 0
    for row in bad:
        events = np.flatnonzero(row)
        # Between events the evidence only grows: it is greatest just before an event, or at the end.
        looks = [(int(event), index) for index, event in enumerate(events)] + [(len(row), len(events))]
        crossed += any(floor_evidence(Guard("e", looks=n, bad_looks=k)) >= math.log(20) for n, k in looks)
    assert crossed <= 0.05 * runs + 2 * math.sqrt(0.05 * 0.95 * runs)


def test_an_equal_version_is_called_safe_soon():
    rng = np.random.default_rng(5)
    looks = [follow(rng, 3_000, (0.2, 0.2), ramp=(5_000,), stop=is_safe)[1] for _ in range(20)]
    found = [number for number in looks if number is not None]
    assert len(found) >= 18
    assert np.median(found) < 1_500


def test_a_broken_version_is_found_within_few_canary_requests():
    rng = np.random.default_rng(6)
    canary_units = []
    for _ in range(60):
        guard, stopped = follow(rng, 4_000, (0.01, 0.3), ramp=(500,), stop=lambda guard: is_harmful(guard, LIMIT))
        assert stopped is not None
        canary_units.append(guard.looks)
    assert np.median(canary_units) <= 25


def test_a_better_version_is_never_harmful():
    rng = np.random.default_rng(7)
    assert all(follow(rng, 800, (0.3, 0.1), stop=lambda guard: is_harmful(guard, LIMIT))[1] is None for _ in range(40))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.01, 0.05, 0.25, 0.5])), max_size=30))
def test_the_evidence_is_the_average_likelihood_ratio(events):
    guard, products = Guard("errors"), [1.0] * 40
    thetas = [1.02 * (20 / 1.02) ** (i / 39) for i in range(40)]
    for canary, rho in events:
        guard = add_event(guard, canary, rho, HARM_RATIOS)
        for i, theta in enumerate(thetas):
            under = rho * theta / (1 - rho + rho * theta)
            products[i] *= (under / rho) if canary else (1 - under) / (1 - rho)
    assert math.exp(harm(guard)) == pytest.approx(sum(products) / 40)
    assert guard.canary_events + guard.stable_events == len(events)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_only_a_units_first_bad_event_counts(requests):
    guard, memory = Guard("errors"), GuardMemory()
    for unit, bad in requests:
        arm = "canary" if bucket_of("s", str(unit)) < 5_000 else "champion"
        guard = observe(guard, memory, served(str(unit), arm), bad, 5_000)
    assert guard.canary_events + guard.stable_events == len({unit for unit, bad in requests if bad})
    canary_units = {unit for unit, _ in requests if bucket_of("s", str(unit)) < 5_000}
    assert guard.looks == len(canary_units)


def test_a_wrong_share_is_noticed_and_a_right_one_is_not():
    rng = np.random.default_rng(8)

    def broken(share):
        ratio = Guard("sample_ratio")
        for _ in range(2_000):
            ratio = add_event(ratio, bool(rng.random() < share), 0.05, SHARE_RATIOS)
            if shares_broken(ratio):
                return True
        return False

    assert all(broken(0.10) for _ in range(10))
    assert all(broken(0.02) for _ in range(10))
    assert sum(broken(0.05) for _ in range(60)) <= 1


def test_the_shadow_forgives_one_error_in_many_and_not_three_in_a_few():
    assert shadow_harm(500, 1) < math.log(100)
    assert shadow_harm(4, 3) > math.log(100)
    assert shadow_harm(2_000, 60) > math.log(100)


def test_what_is_bad():
    limits = Limits({1: 0.5, 2: 0.3}, latency_ms=5.0)
    assert is_bad("errors", served("u", error="boom"), limits, None)
    assert is_bad("errors", served("u", score=math.nan), limits, None)
    assert is_bad("errors", served("u", score=None), limits, None)
    assert is_bad("errors", served("u"), limits, None) is False
    assert is_bad("latency", served("u", latency_ms=9.0), limits, None) is None
    assert is_bad("latency", served("u", latency_ms=4.0), limits, 2.0) is False
    assert is_bad("latency", served("u", latency_ms=9.0), limits, 10.0) is False
    assert is_bad("latency", served("u", latency_ms=11.0), limits, 10.0)
    labelled = Outcome("labelled", "r", "m", 2, "canary", "u", 0, 0.4, 1.0, label=1.0, labelled_ms=5)
    assert is_bad("wrong_label", labelled, limits, None) is False
    assert is_bad("errors", labelled, limits, None) is None
    assert Limits({}, task="regression").guards == ("errors", "latency")
