"""From a table and a function to a package that loads, answers and says what it is."""

import hashlib

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from skyloom.kernel.errors import PackageError, TrainingError
from skyloom.kernel.records.registry import DataVersion
from skyloom.package import load, save
from skyloom.package.tables import score_table
from skyloom.training import Card, TrainOptions, train
from skyloom.training.metrics import roc_auc

DATA = DataVersion("training/late", 3, "d", {"departures": 1})


class Objects:
    def __init__(self):
        self.kept = {}

    def put(self, content):
        name = hashlib.sha256(content).hexdigest()
        self.kept[name] = content
        return name

    def get(self, digest):
        return self.kept[digest]


@pytest.fixture(scope="module")
def trained(declare, tabulate, fit_trees):
    options = TrainOptions(data=DATA, commit="abc", created_ms=7, parameters={"num_leaves": 7})
    return train(tabulate(), declare(), fit_trees, options)


def test_the_package_is_stored_loaded_and_checked(trained):
    objects = Objects()
    digest = save(objects, trained.files, model="late", run="r", definition="d", groups={}, threshold=trained.threshold)
    package = load(objects, digest)
    package.check()
    again = score_table(package.scorer, trained.holdout.table)
    assert again.tolist() == trained.holdout.scores.tolist()
    assert any(value is None for value in package.golden.rows[-1])


def test_the_holdout_is_newer_and_its_metrics_are_of_its_own_scores(trained):
    holdout = trained.holdout
    assert holdout.table.num_rows == trained.split.holdout_rows == holdout.labels.size == holdout.scores.size
    assert min(holdout.table["t"].cast(pa.int64()).to_pylist()) >= trained.split.cut_ms
    assert trained.metrics["roc_auc"] == roc_auc(holdout.labels, holdout.scores)
    assert trained.metrics["roc_auc"] > 0.65
    assert set(holdout.slices["carrier"]) == {"AA", "DL", "UA", "WN", ""}
    assert holdout.latency_ms.size == 500
    assert (holdout.latency_ms > 0).all()


def test_the_card_says_what_it_is_and_what_windows_give(trained):
    card = msgspec.json.decode(trained.files["card.json"], type=Card)
    assert card == trained.card
    assert (card.data, card.commit, card.created_ms, card.parameters) == (DATA, "abc", 7, {"num_leaves": 7})
    assert card.evaluation.base["roc_auc"] == 0.5
    assert card.without_windows.metrics["roc_auc"] < card.evaluation.metrics["roc_auc"] - 0.05
    assert [feature.windowed for feature in card.features] == [False, False, False, True]
    assert sum(feature.importance for feature in card.features) == pytest.approx(1)
    assert max(card.features, key=lambda feature: feature.importance).name == "recent_delay"
    assert card.proof.max_difference < 1e-6
    assert sum(each.rows for each in card.evaluation.slices) == trained.split.holdout_rows
    assert {"python", "onnxruntime", "lightgbm"} <= msgspec.json.decode(trained.files["bom.json"]).keys()


def test_a_category_of_the_holdout_alone_is_unknown_to_the_model(table, model, fit_trees):
    names = np.array(table["carrier"].to_pylist(), object)
    names[-50:] = "new"
    trained = train(table.set_column(0, "carrier", pa.array(names.tolist())), model, fit_trees)
    assert b"new" not in trained.files["model.onnx"]
    assert "new" in trained.holdout.slices["carrier"]


def test_a_function_that_names_a_windowed_column_is_trained_all_the_same(table, model, fit_trees):
    def strict(X, y, *, num_leaves):
        assert "recent_delay" in X.columns, "where is recent_delay?"
        return fit_trees(X, y)

    trained = train(table, model, strict)
    assert "where is recent_delay" in trained.card.without_windows.error
    assert train(table, model, strict, TrainOptions(ablation=False)).card.without_windows is None


def test_a_regression(table, declare):
    def value(X, y, *, num_leaves):
        from lightgbm import LGBMRegressor

        return LGBMRegressor(n_estimators=30, n_jobs=1).fit(X, y)

    delays = pa.array((np.nan_to_num(table["recent_delay"].to_numpy()) * 100 + 7).tolist())
    trained = train(table.set_column(4, "label", delays), declare(task="regression", metrics=("rmse",)), value)
    assert trained.metrics["r2"] > 0.9
    assert trained.card.evaluation.calibration == ()
    assert trained.card.proof.tolerance > 1e-5


def test_one_class_and_empty_tables_are_refused(table, model, fit_trees):
    with pytest.raises(TrainingError, match="one class only: every label is false"):
        train(table.set_column(4, "label", pa.array([False] * table.num_rows)), model, fit_trees)
    with pytest.raises(TrainingError, match="no labelled row"):
        train(table.slice(0, 0), model, fit_trees)


def test_a_model_that_has_no_answer_for_missing_values_is_refused(table, declare):
    def linear(X, y):
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression().fit(X, y)

    inputs = tuple(each for each in declare().inputs if each.name == "miles")
    column = np.array(table["miles"].to_pylist(), object)
    column[-5:] = None
    holes = table.set_column(1, "miles", pa.array(column.tolist(), pa.float64()))
    with pytest.raises(PackageError, match="no answer for 5 of 600 rows"):
        train(holes, declare(inputs=inputs, parameters={}), linear)
