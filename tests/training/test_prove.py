"""A package that does not answer as its model is refused, with the column at fault."""

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skyloom.kernel.errors import PackageError
from skyloom.kernel.schema import Type
from skyloom.package import Input, Scorer, Signature
from skyloom.training.convert import convert
from skyloom.training.prove import prove


def _frame(rows=2000):
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "carrier": pd.Categorical(random.choice(["AA", "DL", "UA"], rows)),
            "epoch": (1.7e9 + random.integers(0, 40_000, rows) * 128).astype("float32"),
            "miles": random.normal(900, 300, rows).astype("float32"),
        }
    )


def _signature(X):
    return Signature(tuple(Input(name, Type.STRING if name == "carrier" else Type.FLOAT) for name in X.columns), "binary")


def _prove(model, X):
    signature = _signature(X)
    return prove(model, Scorer(convert(model, signature), signature), X, 0.5)


def test_an_equal_package_is_proved_with_missing_and_unseen_values():
    X = _frame()
    y = (X["miles"] > 900) ^ (X["carrier"] == "UA")
    proof = _prove(LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(X, y), X)
    assert proof.rows >= len(X) + 4 * 50
    assert proof.max_difference < 1e-6
    assert (proof.flips, proof.notes) == (0, ())


def test_the_column_that_float32_cannot_scale_is_named():
    X = _frame()[["epoch", "miles"]]
    y = ((X["epoch"] // 128) % 2 == 0).astype("int8")
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)).fit(X, y)
    with pytest.raises(PackageError, match="does not answer as the original") as caught:
        _prove(model, X)
    assert caught.value.tried.startswith("epoch = ")
    assert "epoch" in caught.value.fix


def test_another_model_in_the_package_is_found():
    X = _frame()
    y = (X["miles"] > 900).astype("int8")
    right = LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(X, y)
    wrong = LGBMClassifier(n_estimators=21, verbose=-1, n_jobs=1).fit(X, y)
    signature = _signature(X)
    with pytest.raises(PackageError):
        prove(right, Scorer(convert(wrong, signature), signature), X, 0.5)


def test_a_model_that_cannot_answer_new_categories_is_refused():
    X = _frame()
    y = (X["miles"] > 900).astype("int8")
    encode = ColumnTransformer([("e", OneHotEncoder(), ["carrier"])], remainder="passthrough")
    with pytest.raises(PackageError, match="cannot answer a carrier that it has never seen"):
        _prove(make_pipeline(encode, DecisionTreeClassifier(max_depth=3)).fit(X, y), X)


def test_what_the_model_itself_refuses_is_noted():
    X = _frame()[["miles"]] / 1000
    y = (X["miles"] > 0.9).astype("int8")
    proof = _prove(LogisticRegression().fit(X, y), X)
    assert proof.notes == ("the model refuses rows with miles missing: Input X contains NaN.",)


def test_a_model_that_cannot_answer_X_is_refused():
    X = _frame()
    y = (X["miles"] > 900).astype("int8")
    fitted = X.assign(carrier=X["carrier"].cat.codes.astype("float32"))
    model = LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(fitted, y)
    with pytest.raises(PackageError):
        _prove(model, X)
