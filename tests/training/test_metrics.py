"""Metrics against scikit-learn, which shares no code with them."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from skyloom.kernel.errors import TrainingError
from skyloom.training.metrics import METRICS, calibration, ece, measure, metric_named

_JUDGED = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.99, 1.0])), min_size=2, max_size=60)


@settings(max_examples=80, deadline=None)
@given(judged=_JUDGED)
def test_binary_metrics_are_those_of_scikit_learn(judged):
    y, s = (np.array(column, float) for column in zip(*judged, strict=True))
    assume(0 < y.sum() < y.size)
    found = measure(y, s, "binary")
    assert found["roc_auc"] == pytest.approx(oracle.roc_auc_score(y, s))
    assert found["average_precision"] == pytest.approx(oracle.average_precision_score(y, s))
    assert found["brier"] == pytest.approx(oracle.brier_score_loss(y, s))
    held = np.clip(s, 1e-15, 1 - 1e-15)
    assert found["log_loss"] == pytest.approx(oracle.log_loss(y, np.column_stack([1 - held, held])), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=40))
def test_regression_metrics_are_those_of_scikit_learn(pairs):
    y, s = np.array(pairs).T
    assume(np.ptp(y) > 1e-3)
    found = measure(y, s, "regression")
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(y, s))
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(y, s))
    assert found["r2"] == pytest.approx(oracle.r2_score(y, s), rel=1e-6, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(judged=_JUDGED)
def test_calibration_bins_hold_every_row_once(judged):
    y, s = (np.array(column, float) for column in zip(*judged, strict=True))
    bins = calibration(y, s)
    assert sum(each.rows for each in bins) == y.size
    assert sum(each.rows * each.rate for each in bins) == pytest.approx(y.sum())
    assert [each.mean_score for each in bins] == sorted(each.mean_score for each in bins)
    assert 0 <= ece(y, s) <= 1


def test_calibration_error_is_zero_for_the_truth_and_one_for_its_contrary():
    y = np.array([0.0, 1.0] * 50)
    assert ece(y, y) == 0
    assert ece(y, 1 - y) == 1


def test_an_unknown_metric_is_answered_with_the_nearest():
    with pytest.raises(TrainingError, match="did you mean roc_auc"):
        metric_named("roc_auk", "binary")
    assert metric_named("mae", "regression") is METRICS["regression"]["mae"]
