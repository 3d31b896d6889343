"""Paired labels: the chance of being misled, what makes a pair, and the evidence against a plain recomputation."""

import math
from itertools import product

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.delivery.paired import BETS, MARGIN, WAITING, PairMemory, add_pair, losses, pairs_harm, pairs_safe, pairs_safety
from skyloom.kernel.records.prediction import Outcome
from skyloom.kernel.records.release import Pairs

CHAMPION = Outcome("labelled", "r", "m", 1, "champion", "u", 5, 0.5, 1.0, label=1.0, labelled_ms=9)
COPY = msgspec.structs.replace(CHAMPION, receipt="s", version=2, arm="shadow", score=0.9)
UNITS = st.floats(0, 1, allow_subnormal=False)


def ends(seed, draw, most):
    """Whether harm (at 1 of 100) or safety (at 1 of 20) was ever claimed within ``most`` pairs."""
    rng, pairs, harmed, safe = np.random.default_rng(seed), Pairs(), False, False
    for _ in range(most):
        pairs = add_pair(pairs, *draw(rng))
        harmed |= pairs_harm(pairs) >= math.log(100)
        safe |= pairs_safe(pairs)
    return harmed, safe


def test_an_equal_version_is_rarely_called_worse_however_often_one_looks():
    found = [ends(seed, lambda rng: (rng.random() ** 2, rng.random() ** 2), 500)[0] for seed in range(200)]
    assert sum(found) <= 6  # 2 are expected at most; more than 6 has a chance below 1 of 200


def test_a_version_at_the_margin_is_rarely_called_safe():
    def draw(rng):
        loss = rng.random() * 0.9
        return loss, min(1.0, MARGIN * loss)

    def scattered(rng):
        return float(rng.random() < 0.3), float(rng.random() < 0.3 * MARGIN)

    for how in (draw, scattered):
        assert sum(ends(seed, how, 500)[1] for seed in range(200)) <= 20  # 10 are expected at most


def test_a_clearly_worse_one_is_found_and_an_equal_one_shown_safe():
    def worse(rng):
        hard = rng.random()
        return 0.1 * hard, 0.1 * hard + 0.3 * rng.random()

    def equal(rng):
        hard = rng.random() ** 2
        return hard, abs(hard - 0.05 * rng.random())

    assert all(ends(seed, worse, 300) == (True, False) for seed in range(10))
    assert all(ends(seed, equal, 600) == (False, True) for seed in range(10))


@given(st.lists(st.tuples(UNITS, UNITS), max_size=30))
def test_the_evidence_is_the_mean_of_the_capitals(rows):
    pairs = Pairs()
    for champion, challenger in rows:
        pairs = add_pair(pairs, champion, challenger)
    harm = sum(math.prod(1 + bet * (b - a) for a, b in rows) for bet in BETS) / len(BETS)
    safe = sum(math.prod(1 + bet * (1.1 * a - b) / 1.1 for a, b in rows) for bet in BETS) / len(BETS)
    assert math.exp(pairs_harm(pairs)) == pytest.approx(harm, rel=1e-9)
    assert math.exp(pairs_safety(pairs)) == pytest.approx(safe, rel=1e-9)
    assert pairs.count == len(rows)


def test_a_pair_is_one_request_and_a_unit_speaks_once():
    memory = PairMemory()
    assert memory.match(CHAMPION, False) is None
    assert memory.match(msgspec.structs.replace(COPY, at_ms=6), True) is None  # another request of the same unit
    assert memory.match(msgspec.structs.replace(COPY, score=math.nan), True) is None
    assert memory.match(msgspec.structs.replace(COPY, error="boom"), True) is None
    assert memory.match(msgspec.structs.replace(COPY, label=None), True) is None
    assert memory.match(COPY, True) == (CHAMPION, COPY)
    assert memory.match(msgspec.structs.replace(CHAMPION, at_ms=6), False) is None
    other = PairMemory()
    assert other.match(COPY, True) is None
    assert other.match(CHAMPION, False) == (CHAMPION, COPY)


def test_what_waits_for_a_dropped_copy_is_bounded():
    memory = PairMemory()
    for number in range(WAITING + 1):
        memory.match(msgspec.structs.replace(CHAMPION, unit=str(number)), False)
    assert memory.match(msgspec.structs.replace(COPY, unit="0"), True) is None
    assert memory.match(msgspec.structs.replace(COPY, unit="2"), True) is not None


@given(
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.sampled_from(["binary", "regression"]),
)
def test_losses_are_within_bounds_whatever_the_scores(first, second, label, task):
    made = [msgspec.structs.replace(each, score=score, label=label) for each, score in ((CHAMPION, first), (COPY, second))]
    assert all(0 <= loss <= 1 for loss in losses(made[0], made[1], task))


def test_losses_of_regressions_share_the_error():
    for first, second in product((0.5, 1.5, 2.0), repeat=2):
        made = [msgspec.structs.replace(each, score=s) for each, s in ((CHAMPION, first), (COPY, second))]
        a, b = losses(made[0], made[1], "regression")
        assert a + b == pytest.approx(1.0)
        assert a * abs(second - 1) == pytest.approx(b * abs(first - 1))
