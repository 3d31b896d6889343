import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from skyloom.kernel.records.prediction import Outcome
from skyloom.monitoring.performance import measured, performance


def served(number, at_ms, version=1, score=0.5):
    return Outcome("served", f"r{number}", "m", version, "champion", "u", at_ms, score, 1.0)


def labelled(number, at_ms, label, delay=5, version=1, score=0.5):
    return Outcome(
        "labelled", f"r{number}", "m", version, "champion", "u", at_ms, score, 1.0, label=label, labelled_ms=at_ms + delay
    )


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=2, max_size=80))
@settings(max_examples=80, deadline=None)
def test_metrics_equal_scikit_learn(rows):
    labels, scores = [float(label) for label, _ in rows], [score / 10 for _, score in rows]
    found = measured([labelled(n, 0, *row[:1], score=row[1] / 10) for n, row in enumerate(rows)], "binary")
    assert found["brier"] == pytest.approx(brier_score_loss(labels, scores, pos_label=1))
    assert found["base_rate"] == pytest.approx(np.mean(labels))
    if len(set(labels)) == 2:
        assert found["roc_auc"] == pytest.approx(roc_auc_score(labels, scores))
    else:
        assert found["roc_auc"] is None


def test_unlabelled_is_not_false():
    outcomes = [served(n, 0) for n in range(10)] + [labelled(n, 0, 1.0) for n in range(4)]
    [cohort] = performance(outcomes, "binary", 100, 1_000, 50)
    assert cohort.coverage == 0.4
    assert cohort.metrics["base_rate"] == 1.0


def test_a_prediction_belongs_to_its_own_moment_and_not_to_its_labels():
    outcomes = [served(1, 95), served(2, 105, version=2), labelled(1, 95, 1.0, delay=200), labelled(2, 105, 0.0, version=2)]
    first, second = performance(outcomes, "binary", 100, 10_000, 500)
    assert (first.start_ms, first.end_ms, first.version, first.labelled) == (0, 100, 1, 1)
    assert (second.start_ms, second.version, second.labelled) == (100, 2, 1)


def test_maturity_follows_the_delays_of_labels_and_their_bound():
    outcomes = [served(n, n) for n in range(100)] + [labelled(n, n, 1.0, delay=20) for n in range(50)]
    assert not performance(outcomes, "binary", 100, 119, 1_000)[0].mature
    assert performance(outcomes, "binary", 100, 120, 1_000)[0].mature
    assert not performance(outcomes[:100], "binary", 100, 1_099, 1_000)[0].mature
    assert performance(outcomes[:100], "binary", 100, 1_100, 1_000)[0].mature


def test_broken_answers_are_no_numbers():
    rows = [labelled(1, 0, 1.0, score=None), labelled(2, 0, 1.0, score=math.nan), labelled(3, 0, 1.0, score=0.5)]
    assert measured(rows, "binary")["brier"] == 0.25
    assert measured(rows[:2], "binary") == {"roc_auc": None, "brier": None, "base_rate": None}
    assert measured([labelled(1, 0, 3.0, score=1.0), labelled(2, 0, 1.0, score=1.0)], "regression") == {
        "mae": 1.0,
        "rmse": math.sqrt(2),
    }
    assert measured([], "regression") == {"mae": None, "rmse": None}


def test_a_label_without_its_prediction_does_not_count():
    """Outcomes that begin in the middle hold labels of predictions made before: coverage stays a share."""
    early = Outcome("labelled", "before", "m", 1, "champion", "u", 5, 0.8, 1.0, label=1.0, labelled_ms=8)
    served = Outcome("served", "r", "m", 1, "champion", "v", 6, 0.8, 1.0)
    [cohort] = performance([early, served], "binary", 10, 100, 20)
    assert (cohort.predictions, cohort.labelled, cohort.coverage) == (1, 0, 0.0)
