import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, root_mean_squared_error

from skyloom.delivery.bootstrap import improvement, metric_of
from skyloom.delivery.delong import auc, auc_difference
from skyloom.delivery.gates import GateEvidence, judge, judge_all
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.records.definitions import GateDef


def brute_force(labels, *scores):
    """AUCs and their covariance from the definition: every positive against every negative, in plain loops."""
    positive = [i for i, label in enumerate(labels) if label]
    negative = [i for i, label in enumerate(labels) if not label]
    psi = [[[(s[i] > s[j]) + 0.5 * (s[i] == s[j]) for j in negative] for i in positive] for s in scores]
    m, n = len(positive), len(negative)
    aucs = [sum(map(sum, table)) / (m * n) for table in psi]
    v10 = [[sum(row) / n for row in table] for table in psi]
    v01 = [[sum(row[j] for row in table) / m for j in range(n)] for table in psi]

    def covariance(a, b, mean_a, mean_b):
        return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (len(a) - 1)

    k = range(len(scores))
    matrix = [
        [covariance(v10[a], v10[b], aucs[a], aucs[b]) / m + covariance(v01[a], v01[b], aucs[a], aucs[b]) / n for b in k]
        for a in k
    ]
    return aucs, matrix


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_delong_equals_the_definition(data):
    rows = data.draw(st.integers(5, 40))
    score = st.integers(0, 6).map(float)
    labels = [1.0, 1.0, 0.0, 0.0, *data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=rows, max_size=rows))]
    a = data.draw(st.lists(score, min_size=len(labels), max_size=len(labels)))
    b = data.draw(st.lists(score, min_size=len(labels), max_size=len(labels)))
    aucs, matrix = brute_force(labels, a, b)
    y, left, right = np.array(labels), np.array(a), np.array(b)
    single, paired = auc(y, left), auc_difference(y, left, right)
    assert single.value == pytest.approx(aucs[0])
    assert single.error**2 == pytest.approx(matrix[0][0], abs=1e-12)
    assert paired.value == pytest.approx(aucs[0] - aucs[1])
    assert paired.error**2 == pytest.approx(matrix[0][0] + matrix[1][1] - 2 * matrix[0][1], abs=1e-12)


def evidence(rng, rows=600, lift=1.0, champion_lift=None, **more):
    labels = (rng.random(rows) < 0.3).astype(float)
    shared = rng.normal(size=rows)

    def scores(strength):
        return 1 / (1 + np.exp(-(labels * strength + shared + 0.5 * rng.normal(size=rows))))

    champion = None if champion_lift is None else scores(champion_lift)
    return GateEvidence(labels, scores(lift), champion, **more)


def test_an_equal_challenger_is_called_better_in_about_five_percent():
    rng = np.random.default_rng(1)
    gate = GateDef("better_than_champion", metric="roc_auc")
    runs = 1_000
    passed = sum(judge(gate, evidence(rng, 300, 1.0, 1.0)).passed for _ in range(runs))
    assert 0.028 * runs <= passed <= 0.075 * runs


def test_a_better_challenger_passes_and_a_worse_one_fails():
    rng = np.random.default_rng(2)
    for metric in ("roc_auc", "average_precision"):
        gate = GateDef("better_than_champion", metric=metric)
        assert judge(gate, evidence(rng, 2_000, 2.0, 1.0)).passed
        assert not judge(gate, evidence(rng, 2_000, 1.0, 2.0)).passed


@pytest.mark.parametrize("metric", ["roc_auc", "brier", "log_loss", "average_precision"])
def test_without_a_champion_the_base_rate_must_be_beaten(metric):
    rng = np.random.default_rng(3)
    rows = 2_000
    truth = rng.beta(1, 3, rows)
    labels = (rng.random(rows) < truth).astype(float)
    gate = GateDef("better_than_champion", metric=metric)
    good = judge(gate, GateEvidence(labels, truth))
    useless = judge(gate, GateEvidence(labels, rng.permutation(truth)))
    assert good.passed
    assert not useless.passed
    assert "there is no champion" in good.reason


def test_non_inferiority_has_its_margin_and_superiority_has_none():
    rng = np.random.default_rng(4)
    same = evidence(rng, 4_000, 1.0, 1.0)
    assert judge(GateDef("not_worse_than_champion", metric="roc_auc", by=0.03), same).passed
    assert not judge(GateDef("better_than_champion", metric="roc_auc", by=0.5), evidence(rng, 4_000, 1.0, 1.5)).passed


def slices_evidence(rng, worse_in, champion=True):
    rows = 6_000
    carrier = rng.choice(["AA", "UA", "WN"], rows)
    labels = (rng.random(rows) < 0.3).astype(float)
    base = labels + rng.normal(size=rows)
    challenger = np.where(np.isin(carrier, worse_in), rng.normal(size=rows), base + 0.05 * rng.normal(size=rows))
    return GateEvidence(labels, challenger, base if champion else None, {"carrier": [str(c) for c in carrier]})


def test_one_bad_slice_is_found_and_named():
    rng = np.random.default_rng(5)
    gate = GateDef("no_slice_worse", column="carrier", by=0.02)
    bad = judge(gate, slices_evidence(rng, ["WN"]))
    assert not bad.passed
    assert bad.reason.endswith("in WN")
    assert judge(gate, slices_evidence(rng, [])).passed
    alone = judge(gate, slices_evidence(rng, [], champion=False))
    assert alone.passed
    assert "nothing to compare in AA" in alone.reason


def test_equal_slices_fail_in_at_most_five_percent():
    rng = np.random.default_rng(6)
    gate = GateDef("no_slice_worse", column="c", by=0.0)
    failed = 0
    for _ in range(300):
        columns = {"c": [str(value) for value in rng.integers(0, 8, 800)]}
        failed += not judge(gate, evidence(rng, 800, 1.0, 1.0, slices=columns)).passed
    assert failed <= 0.08 * 300


def test_too_little_evidence_never_passes():
    rng = np.random.default_rng(7)
    few = evidence(rng, 50, 3.0, 0.0, slices={"c": ["x"] * 50})
    one_class = GateEvidence(np.ones(500), rng.random(500), rng.random(500), {"c": ["x"] * 500})
    unlabelled = GateEvidence(np.full(500, math.nan), rng.random(500), None, {"c": ["x"] * 500})
    broken = GateEvidence(one_class.labels, np.full(500, math.nan), None, {"c": ["x"] * 500})
    nothing = GateEvidence(np.empty(0), np.empty(0))
    gates = [
        GateDef("better_than_champion", metric="roc_auc"),
        GateDef("not_worse_than_champion", metric="brier", by=0.9),
        GateDef("at_least", metric="roc_auc", by=0.0),
        GateDef("latency_p99", limit_ms=1e9),
    ]
    for each in (few, one_class, unlabelled, broken, nothing):
        assert not any(result.passed for result in judge_all(gates, each))
        assert all(result.reason for result in judge_all(gates, each))
    for each in (one_class, unlabelled, broken, nothing):
        assert not judge(GateDef("no_slice_worse", column="c", by=0.5), each).passed


def test_latency_counts_the_slowest_hundredth():
    gate = GateDef("latency_p99", limit_ms=5.0)
    empty = np.empty(0)
    fast = np.ones(1_000)
    few_slow, many_slow = fast.copy(), fast.copy()
    few_slow[:5] = 50.0
    many_slow[:20] = 50.0
    assert judge(gate, GateEvidence(empty, empty, latency_ms=few_slow)).passed
    assert not judge(gate, GateEvidence(empty, empty, latency_ms=many_slow)).passed
    assert not judge(gate, GateEvidence(empty, empty, latency_ms=np.append(fast, math.nan))).passed


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_metrics_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = np.append((rng.random(60) < 0.4).astype(float), [0.0, 1.0])
    scores = np.round(rng.random(62), 1) * 0.9 + 0.05
    assert metric_of("average_precision", labels, scores) == pytest.approx(average_precision_score(labels, scores))
    assert metric_of("brier", labels, scores) == pytest.approx(brier_score_loss(labels, scores))
    assert metric_of("log_loss", labels, scores) == pytest.approx(log_loss(labels, scores))
    assert metric_of("rmse", labels, scores) == pytest.approx(root_mean_squared_error(labels, scores))


def test_the_bootstrap_covers():
    """The lower bound for an equal challenger is above zero in about one of twenty."""
    rng = np.random.default_rng(8)
    above = 0
    for _ in range(150):
        truth = rng.normal(size=150)
        above += improvement("mae", truth, truth + rng.normal(size=150), truth + rng.normal(size=150)).lower > 0
    assert above <= 0.11 * 150


def test_an_unknown_gate_or_metric_says_what_there_is():
    rng = np.random.default_rng(9)
    with pytest.raises(DeclarationError, match="better_than_champion"):
        judge(GateDef("better_than_champio"), evidence(rng))
    with pytest.raises(DeclarationError, match="brier"):
        judge(GateDef("better_than_champion", metric="briar"), evidence(rng))
    with pytest.raises(DeclarationError, match="less of it is better"):
        judge(GateDef("at_least", metric="brier", by=0.1), evidence(rng))
