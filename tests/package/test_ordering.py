"""The order of rows for trees: read from the file as scikit-learn knows the trees, and without a trace in the answers."""

from collections import defaultdict
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression

from skyloom.kernel.schema import Type
from skyloom.package.ordering import ordering_of
from skyloom.package.scorer import Scorer
from skyloom.package.signature import Input, Signature
from skyloom.package.trees import splits_of
from skyloom.training.convert import convert

WIDTH, TREES = 5, 40
NAMES = tuple(f"x{at}" for at in range(WIDTH))
SIGNATURE = Signature(tuple(Input(name, Type.FLOAT) for name in NAMES), "regression")


def values(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def forest() -> RandomForestRegressor:
    x = values(1_500)
    return RandomForestRegressor(TREES, max_depth=8, random_state=0).fit(x, x[:, 3] + x[:, 1] * x[:, 2])


@pytest.fixture(scope="module")
def model(forest: RandomForestRegressor) -> bytes:
    return convert(forest, SIGNATURE)


@pytest.fixture(scope="module")
def scorer(model: bytes) -> Scorer:
    return Scorer(model, SIGNATURE)


def met(forest: RandomForestRegressor) -> dict[tuple[str, float], float]:
    """How many rows meet each split if every one halves them, by scikit-learn's own trees."""
    found: dict[tuple[str, float], float] = defaultdict(float)

    def walk(tree: Any, node: int, weight: float) -> None:
        if tree.children_left[node] >= 0:
            split = NAMES[tree.feature[node]], float(np.nextafter(np.float32(tree.threshold[node]), np.float32(-np.inf)))
            found[split] += weight
            walk(tree, tree.children_left[node], weight / 2)
            walk(tree, tree.children_right[node], weight / 2)

    for each in forest.estimators_:
        walk(each.tree_, 0, 1.0)
    return found


def test_splits_are_those_of_scikit_learn(forest: RandomForestRegressor, model: bytes) -> None:
    splits = splits_of(model)
    assert splits is not None
    expected = met(forest)
    assert sum(expected.values()) == pytest.approx(splits.weights.sum())
    for name in NAMES:
        its = splits.of([name])
        mine = sorted(zip(its.thresholds.tolist(), its.weights.tolist(), strict=True))
        theirs = sorted((at, weight) for (of, at), weight in expected.items() if of == name)
        assert np.average([at for at, _ in mine], weights=[weight for _, weight in mine]) == pytest.approx(
            np.average([at for at, _ in theirs], weights=[weight for _, weight in theirs]), rel=1e-5, abs=1e-6
        )


@settings(deadline=None, max_examples=40)
@given(st.integers(300, 700), st.integers(0, 2**32 - 1), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 3e38]), st.data())
def test_each_score_has_the_bits_of_its_row_alone(
    scorer: Scorer, count: int, seed: int, odd: float, data: st.DataObject
) -> None:
    rows = values(count, seed)
    rows[data.draw(st.lists(st.integers(0, count - 1), max_size=20)), data.draw(st.integers(0, WIDTH - 1))] = odd
    columns = {name: rows[:, at] for at, name in enumerate(NAMES)}
    together = scorer.score(columns)
    assert together.dtype == np.float32
    alone = [scorer.score_row(tuple(row)) for row in rows[:: count // 50].tolist()]
    assert together[:: count // 50].tobytes() == np.float32(alone).tobytes()
    backwards = scorer.score({name: column[::-1] for name, column in columns.items()})
    assert backwards[::-1].tobytes() == together.tobytes()


@settings(deadline=None)
@given(st.integers(0, 600), st.integers(0, 2**32 - 1))
def test_an_order_has_every_row_once_and_few_rows_have_none(model: bytes, count: int, seed: int) -> None:
    rows = values(count, seed)
    ordering = ordering_of(model, NAMES)
    assert ordering is not None
    order = ordering.of({name: rows[:, at] for at, name in enumerate(NAMES)})
    assert (order is None) == (count < 300)
    assert order is None or sorted(order.tolist()) == list(range(count))


def test_rows_that_go_the_same_way_come_together(forest: RandomForestRegressor, model: bytes) -> None:
    """Followed through the trees of scikit-learn, neighbours part at fewer of the splits that they meet."""
    rows = values(1_000, 5)
    ordering = ordering_of(model, NAMES)
    assert ordering is not None
    order = ordering.of({name: rows[:, at] for at, name in enumerate(NAMES)})
    assert order is not None

    def common(given: NDArray[np.float32]) -> float:
        """The splits that two neighbours both meet, a tree and a pair."""
        paths = [each.decision_path(given) for each in forest.estimators_]
        return float(np.mean([path[:-1].multiply(path[1:]).sum() for path in paths])) / len(given)

    assert common(rows[order]) > common(rows) * 1.3


def test_other_models_are_scored_as_they_come() -> None:
    x = values(300)
    few = RandomForestRegressor(2, max_depth=3, random_state=0).fit(x, x[:, 0])
    assert ordering_of(convert(LinearRegression().fit(x, x[:, 0]), SIGNATURE), NAMES) is None
    assert ordering_of(convert(few, SIGNATURE), NAMES) is None
    assert splits_of(b"") is None


def test_trees_of_a_classifier_and_of_lightgbm_are_read_too(trees_onnx: bytes, signature: Signature) -> None:
    x = values(1_500)
    several = RandomForestClassifier(TREES, max_depth=8, random_state=0).fit(x, (x[:, 0] > x[:, 1]).astype(int))
    assert ordering_of(convert(several, msgspec.structs.replace(SIGNATURE, task="binary")), NAMES) is not None
    splits = splits_of(trees_onnx)
    assert splits is not None
    assert set(splits.inputs.tolist()) == {"carrier", "miles"} <= set(signature.names)
    assert set(splits.of(["miles", "hour"]).inputs.tolist()) == {"miles"}


@settings(deadline=None, max_examples=300)
@example([(149, 0)], False)
@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_no_bytes_break_the_reader(model: bytes, changes: list[tuple[int, int]], cut: bool) -> None:
    damaged = bytearray(model)
    for at, octet in changes:
        damaged[at % len(damaged)] = octet
    ordering_of(bytes(damaged[: changes[0][0] % len(damaged)] if cut else damaged), NAMES)


def test_a_model_that_leads_in_a_circle_is_left_alone() -> None:
    circle = onnx.helper.make_node("Identity", ["x"], ["x"])
    trees = onnx.helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml")
    columns = onnx.helper.make_node("Concat", ["x", "x"], ["x"], axis=1)
    for nodes in ([circle, trees], [columns, circle, trees], [circle]):
        assert splits_of(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [])).SerializeToString()) is None
