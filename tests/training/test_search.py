"""The search: seeded, failing trials recorded, better than where it began."""

import msgspec
import pytest

from skyloom.kernel.errors import TrainingError
from skyloom.kernel.records.definitions import LoopDef, SearchDef
from skyloom.training.frame import categories_of, frame_of, labels_of, signature_of, times_ms
from skyloom.training.search import Sample, search

SPACE = SearchDef(6, {"num_leaves": (2, 30, "linear", True), "learning_rate": (0.001, 0.3, "log", False)})


@pytest.fixture
def sample(table, model):
    signature = signature_of(model.inputs, model.task)
    X = frame_of(table, signature, categories_of(table, signature))
    return Sample(X, labels_of(table, "binary"), times_ms(table)), signature


def test_the_best_trial_wins_and_the_same_seed_asks_the_same(sample, fit_trees):
    rows, signature = sample
    first = {"num_leaves": 5, "learning_rate": 0.01, "not_searched": 1}
    found = search(fit_trees, rows, signature, SPACE, "roc_auc", first=first, seed=3)
    again = search(fit_trees, rows, signature, SPACE, "roc_auc", first=first, seed=3)
    assert [trial.parameters for trial in found.trials] == [trial.parameters for trial in again.trials]
    assert found.trials[0].parameters == {"num_leaves": 5, "learning_rate": 0.01}
    best = max(found.trials, key=lambda trial: trial.value)
    assert found.parameters == best.parameters
    assert all(2 <= trial.parameters["num_leaves"] <= 30 for trial in found.trials)
    msgspec.json.encode(found)


def test_less_is_better_where_it_is(sample, fit_trees):
    rows, signature = sample
    found = search(fit_trees, rows, signature, SPACE, "brier", first={}, seed=0)
    assert found.parameters == min(found.trials, key=lambda trial: trial.value).parameters


def test_a_failing_trial_is_recorded_and_all_failing_is_an_error(sample, fit_trees):
    rows, signature = sample

    def moody(X, y, *, num_leaves, learning_rate):
        if num_leaves > 10:
            raise ValueError(f"{num_leaves} is too many")
        return fit_trees(X, y, num_leaves=num_leaves)

    found = search(moody, rows, signature, SPACE, "roc_auc", first={"num_leaves": 4, "learning_rate": 0.1}, seed=0)
    failed = [trial for trial in found.trials if trial.value is None]
    assert failed
    assert all("is too many" in trial.error for trial in failed)
    assert found.parameters["num_leaves"] <= 10

    def never(X, y, *, num_leaves, learning_rate):
        raise ValueError("never")

    with pytest.raises(TrainingError, match="all 6 trials"):
        search(never, rows, signature, SPACE, "roc_auc", first={}, seed=0)


def test_the_loop_of_a_model_starts_it(table, declare, fit_trees):
    from skyloom.training import train

    trained = train(table, declare(loop=LoopDef(search=SPACE)), fit_trees)
    assert len(trained.card.trials) == 6
    assert trained.parameters.keys() == {"num_leaves", "learning_rate"}
