"""What is measured when a model is loaded: whether batches pay, and whether they have the bits of single rows."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network import INPUTS, SIGNATURE, network, some_rows
from numeric_world import summing_model

from skyloom.package import Golden, Scorer
from skyloom.serving import batch_cost
from skyloom.serving.batch_cost import Cost, fit, hand_over_s, measure, pays, same_bits
from skyloom.serving.batch_queue import NEVER, Pace, Plan, Queue, plan_for, work_s
from skyloom.training.convert import convert

ROWS = tuple(some_rows(50))


def package(scorer: Any) -> Any:
    return SimpleNamespace(scorer=scorer, golden=Golden(ROWS, ()))


def bits(scores: list[float]) -> list[bytes]:
    return [np.float64(score).tobytes() for score in scores]


def alone_s(scorer: Scorer) -> float:
    """How long a row takes: the least of many, since this machine does other things, too."""
    return min(batch_cost._timed(lambda: scorer.score_row(ROWS[0])) for _ in range(200))  # pyright: ignore[reportPrivateUsage]


def budget(seconds: float = 10.0) -> Any:
    return batch_cost._Budget(seconds)  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(scope="module")
def gathered() -> tuple[Scorer, Cost]:
    """A network of three layers of 1,536 units, measured."""
    scorer = Scorer(network(1536, 3), SIGNATURE)
    return scorer, measure(package(scorer), alone_s(scorer))


def test_batches_of_a_network_are_worth_gathering(gathered: tuple[Scorer, Cost]) -> None:
    scorer, cost = gathered
    assert cost.gathers
    assert cost.most >= 16
    assert cost.seconds(cost.most) / cost.most < cost.seconds(1) / 1.3
    assert scorer.blocks[0] == cost.most


@given(st.lists(st.tuples(*[st.none() | st.floats(-1e4, 1e4)] * INPUTS), min_size=1, max_size=90))
def test_rows_of_a_network_have_the_bits_that_they_have_alone(gathered: tuple[Scorer, Cost], rows: list[Any]) -> None:
    scorer, _ = gathered
    alone = bits([scorer.score_row(row) for row in rows])
    columns = dict(zip(scorer.signature.names, np.array(rows, np.float64).T, strict=True))
    assert bits(scorer.score_rows(rows)) == alone
    assert bits(scorer.score(columns).tolist()) == alone


def test_trees_linear_models_and_sums_are_asked_a_row_at_a_time() -> None:
    import lightgbm
    from sklearn.linear_model import LinearRegression

    X, y = np.array(some_rows(500)), np.array([row[0] > row[1] for row in some_rows(500)], float)
    trees = lightgbm.LGBMRegressor(n_estimators=20, num_leaves=15, verbose=-1, n_jobs=1).fit(X, y)
    linear = LinearRegression().fit(X, y)
    for onnx in (convert(trees, SIGNATURE), convert(linear, SIGNATURE), summing_model(INPUTS)):
        scorer = Scorer(onnx, SIGNATURE)
        cost = measure(package(scorer), alone_s(scorer))
        assert (cost.gathers, cost.most, scorer.blocks) == (False, 1, ())
        assert plan_for([cost], 0) is None


def test_a_model_that_mixes_rows_is_never_asked_several() -> None:
    scorer = Scorer(network(64, 1, mixing=True), SIGNATURE)
    assert not scorer.separable
    assert measure(package(scorer), 1.0) == Cost(0.0, 1.0)


class Unlike:
    """A scorer whose rows have other bits from a size on, at one place of a batch."""

    rowwise, separable = False, True

    def __init__(self, size: int, place: int, rows: int = 64) -> None:
        self.size, self.place, self.blocks = size, place, ()

    def score_row(self, row: Any) -> float:
        return float(np.float32(sum(row)))

    def score_together(self, rows: Any) -> list[float]:
        scores = [self.score_row(row) for row in rows]
        if len(rows) >= self.size:
            scores[self.place] = float(np.nextafter(np.float32(scores[self.place]), np.float32(np.inf)))
        return scores


@pytest.mark.parametrize(("size", "place"), [(2, 1), (5, 4), (16, 0), (64, 63), (65, 64)])
def test_sizes_that_give_other_bits_anywhere_are_not_used(size: int, place: int) -> None:
    sizes = (*range(2, 17), 32, 64)
    found = same_bits(Unlike(size, place), ROWS, sizes, budget())  # type: ignore[arg-type]
    assert found == [each for each in sizes if each < size]


def test_a_model_is_asked_no_more_rows_than_have_the_bits_of_single_ones() -> None:
    for size, blocks in ((9, (8, 4, 2)), (2, ())):
        scorer = Unlike(size, 1)
        cost = measure(package(scorer), 1.0)
        assert (cost.gathers, cost.most, scorer.blocks) == (bool(blocks), max(blocks, default=1), blocks)


def test_what_cannot_be_told_apart_or_tried_in_time_is_not_used() -> None:
    same = [ROWS[0]] * 50
    assert same_bits(Unlike(99, 0), [*same, (0.0,) * INPUTS], (2, 4), budget()) == [2, 4]  # type: ignore[arg-type]
    assert same_bits(Unlike(99, 0), same, (2, 4), budget()) == []  # type: ignore[arg-type]
    assert same_bits(Unlike(99, 0), ROWS, (2, 4), budget(0.0)) == []  # type: ignore[arg-type]


def test_a_model_that_cannot_answer_several_rows_is_asked_for_one() -> None:
    class Single(Unlike):
        def score_together(self, rows: Any) -> list[float]:
            raise ValueError("one row at a time")

    assert measure(package(Single(9, 0)), 1.0) == Cost(0.0, 1.0)


@given(st.floats(1e-6, 1.0), st.floats(1e-7, 1e-1))
def test_the_cost_of_a_straight_line_is_found(fixed_s: float, row_s: float) -> None:
    found = fit({size: fixed_s + size * row_s for size in batch_cost.SIZES})
    assert found == pytest.approx((fixed_s, row_s), rel=1e-3, abs=1e-9 * (fixed_s + 64 * row_s) + 1e-12)


def test_gathering_costs_something_and_counts() -> None:
    assert 0 < hand_over_s() < 0.01
    assert pays({1: 1.0, 8: 4.0}, 0.72, 0.01)  # 0.1 + 0.72 >= 1.3 * (0.1 + 0.03 + 0.5)
    assert not pays({1: 1.0, 8: 4.0}, 0.71, 0.01)
    assert not pays({1: 0.1}, 1.0, 0.0)


def test_a_batch_leaves_time_for_the_one_before_it() -> None:
    cost = Cost(0.001, 0.0001, 64, gathers=True)
    for promise_ms in (5, 10, 20, 50, 1_000):
        plan = plan_for([cost, Cost(0.0, 0.0001)], promise_ms)
        assert plan is not None
        assert 2 * plan.cost.seconds(plan.most) <= plan.promise_s
    assert plan_for([cost], 0) == Plan(cost._replace(most=1, gathers=False), 64, NEVER)


class Waits:
    gone = False

    def __init__(self, plan: Plan, count: int, due_s: float) -> None:
        self.plan, self.count, self.due_s, self.until_s = plan, count, due_s, NEVER


@given(
    st.lists(st.tuples(st.integers(1, 16), st.floats(0, 0.1)), min_size=1, max_size=80),
    st.integers(1, 64),
    st.sampled_from([NEVER, 0.004]),
)
def test_batches_are_in_order_no_larger_than_they_may_be_and_nobody_is_lost(
    asked: list[tuple[int, float]], most: int, longest_s: float
) -> None:
    plan = Plan(Cost(0.001, 0.0001), most, 0.1)
    queue: Queue[Waits] = Queue(1, longest_s)
    waiting = [Waits(plan, count, due_s) for count, due_s in asked]
    for each in waiting:
        queue.put(each)
    seen: list[Waits] = []
    while queue.waiting:
        taken, left = queue.take(0.0)
        assert all(each.due_s < plan.cost.seconds(each.count) for each in left)
        rows = sum(each.count for each in taken)
        if len(taken) > 1:
            assert rows <= most
            assert work_s(plan, rows) <= longest_s
            assert queue.pace.seconds(plan, rows) <= min(each.due_s for each in taken)
        places = [waiting.index(each) for each in taken]
        assert places == sorted(places)
        seen += [*taken, *left]
    assert sorted(map(id, seen)) == sorted(map(id, waiting))
    assert queue.expected_s(plan, 1, 0.0) == pytest.approx(queue.pace.seconds(plan, 1))


def test_the_margin_is_what_all_but_a_few_answers_keep_to() -> None:
    plan, pace, random = Plan(Cost(0.001, 0.0), 8, 0.1), Pace(), np.random.default_rng(0)
    lates = random.exponential(0.005, 4_000)
    for late_s in lates:
        pace.answered(plan, float(late_s))
    later = np.mean(lates > pace.margin_s)
    assert 0.002 < later < 0.1
    for _ in range(2_000):
        pace.answered(plan, -0.001)
    assert pace.margin_s == 0.0


def test_widths_around_those_of_the_kernels() -> None:
    """Those of vectors and of blocks: where any size gives other bits on this machine, it is found to."""
    for width, depth in ((1, 1), (7, 1), (33, 2), (100, 2), (129, 1)):
        scorer = Scorer(network(width, depth, seed=width), SIGNATURE)
        scorer.blocks = tuple(sorted(same_bits(scorer, ROWS, (*range(2, 17), 32, 64), budget()), reverse=True))
        rows = some_rows(200, seed=width)
        assert bits(scorer.score_rows(rows)) == bits([scorer.score_row(row) for row in rows])
