"""Loss of quality: told when it is there, and hardly ever when it is not."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from skyloom.kernel.records.prediction import Outcome
from skyloom.monitoring.decline import Promise, auc_error, estimated, expected_auc, matured, realised

DAY = 86_400_000


def labelled(at_ms: int, label: float, score: float | None, *, version: int = 1, delay_ms: int = 0) -> Outcome:
    return Outcome(
        "labelled", f"r{at_ms}", "m", version, "champion", "u", at_ms, score, 1.0, label=label, labelled_ms=at_ms + delay_ms
    )


def drawn(seed: int, rows: int, signal: float) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated scores and labels: the greater ``signal``, the better the ranking."""
    random = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-(random.normal(size=rows) * signal - 1)))
    return scores, (random.random(rows) < scores).astype(float)


def outcomes(seed: int, rows: int, signal: float) -> list[Outcome]:
    return [labelled(at, label, score) for at, (score, label) in enumerate(zip(*drawn(seed, rows, signal), strict=True))]


def promise(seed: int, signal: float, rows: int = 5_000) -> Promise:
    scores, labels = drawn(seed, rows, signal)
    edges = np.quantile(scores, np.linspace(0, 1, 11))
    bins = [(scores >= low) & (scores <= high) for low, high in pairwise(edges)]
    metrics = {
        "roc_auc": float(roc_auc_score(labels, scores)),
        "brier": float(((scores - labels) ** 2).mean()),
        "mae": float(np.abs(scores - labels).mean()),
        "rmse": float(np.sqrt(((scores - labels) ** 2).mean())),
    }
    calibration = tuple((float(scores[rows].mean()), float(labels[rows].mean())) for rows in bins)
    return Promise(rows, metrics, float(labels.mean()), calibration)


@pytest.mark.parametrize(("metrics", "task"), [(["roc_auc"], "binary"), (["brier"], "binary"), (["mae"], "regression")])
def test_the_same_quality_is_hardly_ever_a_loss_and_a_real_one_is_seen(metrics: list[str], task: str):
    said = [realised(outcomes(seed, 1_000, 2.0), promise(1_000 + seed, 2.0), metrics, task) for seed in range(80)]
    assert sum(each is not None and each.declined for each in said) <= 4  # 1% each, by chance
    worse = [realised(outcomes(seed, 1_000, 0.7), promise(1_000 + seed, 2.0), metrics, task) for seed in range(20)]
    assert all(each is not None and each.declined and each.least > 0 for each in worse)


def test_many_labels_do_not_make_a_trifle_a_loss():
    truth = promise(1, 2.0, 500_000)
    scores, labels = drawn(2, 120_000, 2.0)
    held = realised([labelled(at, *pair) for at, pair in enumerate(zip(labels, scores, strict=True))], truth, [], "binary")
    assert held is not None
    slightly = Promise(truth.rows, {"roc_auc": held.now + 0.005}, truth.base_rate)
    found = realised(
        [labelled(at, *pair) for at, pair in enumerate(zip(labels, scores, strict=True))], slightly, [], "binary"
    )
    assert found is not None
    assert found.least > 0
    assert not found.declined


def test_too_little_says_nothing():
    said = promise(1, 2.0)
    assert realised(outcomes(1, 499, 2.0), said, [], "binary") is None
    one_class = [labelled(at, 1.0, 0.5) for at in range(600)]
    assert realised(one_class, said, [], "binary") is None
    assert estimated([0.5] * 499, said, [], "binary") is None
    assert estimated([0.5] * 600, said, [], "regression") is None


def test_the_estimate_agrees_with_the_labels_that_it_does_not_see():
    said = promise(3, 2.0)
    for signal in (0.5, 1.0, 2.0, 3.0):
        scores, labels = drawn(4, 20_000, signal)
        found = estimated(scores.tolist(), said, ["roc_auc"], "binary")
        assert found is not None
        assert found.now == pytest.approx(roc_auc_score(labels, scores), abs=0.02)
        assert found.declined == (signal < 2)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=2, max_size=30))
def test_with_certain_labels_the_expected_auc_is_the_auc(rows: list[tuple[float, bool]]):
    scores, labels = np.array([score for score, _ in rows]), np.array([float(label) for _, label in rows])
    if 0 < labels.sum() < len(labels):
        assert expected_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_the_error_of_an_auc_is_what_samples_show():
    aucs = [roc_auc_score(*reversed(drawn(seed, 600, 2.0))) for seed in range(200)]
    scores, labels = drawn(7, 200_000, 2.0)
    expected = auc_error(float(roc_auc_score(labels, scores)), 600 * labels.mean(), 600 * (1 - labels.mean()))
    assert float(np.std(aucs)) == pytest.approx(expected, rel=0.2)


def test_slow_labels_are_waited_for():
    """Fast labels alone would be a choice of requests: those younger than the usual delay are left out, labelled or not."""
    known = [labelled(day * DAY, 0.0, 0.1, delay_ms=5 * DAY) for day in range(20)]
    early = [labelled(29 * DAY + at, 1.0, 0.1, delay_ms=0) for at in range(1)]
    found = matured([*known, *early], 1, -1, 30 * DAY, 10 * DAY)
    assert found.delay_ms == 5 * DAY
    assert len(found.outcomes) == 20
    assert [each.at_ms // DAY for each in matured(known, 1, 12 * DAY, 22 * DAY, 10 * DAY).outcomes] == [13, 14, 15, 16, 17]
    assert matured(known, 2, -1, 30 * DAY, 10 * DAY).outcomes == ()
    assert matured([labelled(1, 1.0, None)], 1, -1, 30 * DAY, DAY).outcomes == ()
    assert matured([], 1, -1, 30 * DAY, 10 * DAY).delay_ms == 10 * DAY
