"""A conversion decides every split as the original does. The oracle is the fitted model itself."""

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC

from skyloom.kernel.errors import PackageError
from skyloom.kernel.schema import Type
from skyloom.package import Input, Scorer, Signature
from skyloom.training.convert import convert
from skyloom.training.predict import columns_of_frame, predict
from skyloom.training.trees import bound_of

LETTERS = [f"c{number:02d}" for number in range(60)]
QUIET = {"verbose": -1, "n_jobs": 1, "random_state": 0, "n_estimators": 25}


def _signature(X, task="binary"):
    return Signature(
        tuple(Input(name, Type.STRING if str(X[name].dtype) == "category" else Type.FLOAT) for name in X.columns), task
    )


def _frame(rows=2000, seed=0, *, missing=True, zeros=0.2):
    random = np.random.default_rng(seed)
    letters = random.choice(LETTERS, rows)
    a, b = random.normal(size=rows), np.round(random.normal(0, 50, rows))
    a[random.random(rows) < zeros] = 0
    b[random.random(rows) < zeros / 4] = 1e-36
    y = (np.char.find(letters, "3") >= 0) ^ (a > 0.3) ^ (b < -20) | (a == 0)
    if missing:
        letters = np.where(random.random(rows) < 0.1, None, letters.astype(object))
        a[random.random(rows) < 0.1] = np.nan
        b[random.random(rows) < 0.1] = np.nan
    X = pd.DataFrame(
        {"letter": pd.Categorical(letters, categories=LETTERS), "a": a.astype("float32"), "b": b.astype("float32")}
    )
    return X, pd.Series(y.astype("int8"))


def _edges(model, X):
    """Rows on every threshold of the model and on the float32 on either side of it; with unseen and missing letters."""
    tables = model.booster_.trees_to_dataframe()
    rows = [X]
    for at, name in enumerate(X.columns):
        if name == "letter":
            continue
        feature = model.booster_.feature_name()[at]
        cut = tables.loc[(tables.split_feature == feature) & (tables.decision_type == "<="), "threshold"]
        with np.errstate(over="ignore"):
            near = np.unique(np.float32(cut.astype(float)))
        values = np.concatenate([near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))])
        values = np.concatenate([values, np.float32([np.inf, -np.inf, 0, -0.0, 1e-35, -1e-35, 1e-34, 1e-45, np.nan])])
        some = X.iloc[np.arange(values.size) % len(X)].reset_index(drop=True)
        some[name] = values
        rows.append(some)
    return pd.concat(rows, ignore_index=True)


def _same(model, X, signature, limit=2e-6):
    scorer = Scorer(convert(model, signature), signature)
    given_, wanted = scorer.score(columns_of_frame(X, signature)), predict(model, X, signature)
    np.testing.assert_allclose(given_, wanted, atol=limit, rtol=limit)
    return scorer


OPTIONS = [
    {},
    {"num_leaves": 4, "learning_rate": 0.5},
    {"zero_as_missing": True},
    {"use_missing": False},
    {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
    {"boosting_type": "dart"},
    {"max_cat_to_onehot": 100},
    {"cat_smooth": 1.0, "cat_l2": 0.0, "max_cat_threshold": 60, "min_data_per_group": 1},
    {"sigmoid": 2.5},
    {"linear_tree": False, "min_child_samples": 1, "num_leaves": 200},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("missing", [True, False], ids=["holes", "whole"])
def test_lightgbm_is_equal_on_every_threshold_and_beside_it(options, missing):
    X, y = _frame(missing=missing)
    model = lightgbm.LGBMClassifier(**QUIET, **options).fit(X, y)
    holes, _ = _frame(500, 1)
    assert _same(model, _edges(model, X), _signature(X)).rowwise
    _same(model, holes, _signature(X))


@pytest.mark.parametrize("objective", ["regression", "l1", "huber", "quantile", "poisson", "gamma", "tweedie"])
def test_lightgbm_regressions(objective):
    X, y = _frame()
    value = np.abs(np.nan_to_num(X["b"].to_numpy())) + 1.0 + y
    model = lightgbm.LGBMRegressor(objective=objective, **QUIET).fit(X, value)
    _same(model, _edges(model, X), _signature(X, "regression"), 1e-5)


def test_a_booster_and_the_best_iteration():
    X, y = _frame()
    data = lightgbm.Dataset(X.iloc[:1400], y.iloc[:1400])
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "learning_rate": 0.5, "num_threads": 1},
        data,
        200,
        valid_sets=[data.create_valid(X.iloc[1400:], y.iloc[1400:])],
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
    )
    assert booster.best_iteration < 200
    _same(booster, X, _signature(X))


def test_a_label_that_is_nearly_always_true_and_trees_of_one_leaf():
    X, _ = _frame(400)
    y = pd.Series(np.ones(400, "int8"))
    y.iloc[::50] = 0
    model = lightgbm.LGBMClassifier(**QUIET, min_child_samples=300).fit(X, y)
    _same(model, X, _signature(X))


def test_a_model_of_some_columns_of_X():
    X, y = _frame()
    _same(lightgbm.LGBMClassifier(**QUIET).fit(X[["b", "letter"]], y), X, _signature(X))
    numbers = X[["a", "b"]].fillna(0)
    _same(LogisticRegression().fit(numbers[["b"]], y), numbers, _signature(numbers))


def test_columns_may_be_called_like_anything_inside_the_model():
    X, y = _frame(missing=False)
    for names in (["score", "label", "X"], ["probabilities", "variable", "output_label"], ["sum", "value", "input"]):
        given_ = X.set_axis(names, axis=1)
        _same(lightgbm.LGBMClassifier(**QUIET).fit(given_, y), given_, _signature(given_))
        encode = ColumnTransformer([("e", OneHotEncoder(handle_unknown="ignore"), names[:1])], remainder="passthrough")
        _same(make_pipeline(encode, LogisticRegression(max_iter=500)).fit(given_, y), given_, _signature(given_))
        numbers = given_[names[1:]]
        _same(make_pipeline(StandardScaler(), LogisticRegression()).fit(numbers, y), numbers, _signature(numbers))


@pytest.mark.parametrize("end", [lightgbm.LGBMClassifier(**QUIET), RandomForestClassifier(8, random_state=0)], ids=repr)
@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-2, encoded_missing_value=-1),
    ],
    ids=repr,
)
def test_pipelines_with_encoded_strings_missing_ones_included(encoder, end):
    X, y = _frame()
    X[["a", "b"]] = X[["a", "b"]].fillna(-1)
    encode = ColumnTransformer([("e", encoder, ["letter"])], remainder="passthrough")
    _same(make_pipeline(encode, end).fit(X, y), X, _signature(X))


def test_numeric_estimators_without_a_pipeline():
    X, y = _frame(missing=False)
    numbers = X[["a", "b"]]
    for model in (RandomForestRegressor(5, random_state=0), LinearRegression(), lightgbm.LGBMRegressor(**QUIET)):
        _same(model.fit(numbers, y.astype(float)), numbers, _signature(numbers, "regression"), 1e-5)


def _onnx_model(names, *, columns=1, domain=""):
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    output = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, columns])
    nodes = [helper.make_node("Concat", names[:2], ["both"], axis=1)]
    if columns == 1:
        nodes.append(helper.make_node("ReduceMean", ["both"], ["score"], domain=domain))
    else:
        nodes.append(helper.make_node("Identity", ["both"], ["score"], domain=domain))
    graph = helper.make_graph(nodes, "g", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10)


def test_a_finished_onnx_model_is_taken_over():
    X, _ = _frame(50, missing=False)
    numbers = X[["a", "b"]]
    _same(_onnx_model(["a", "b"], columns=2), numbers, _signature(numbers))
    with pytest.raises(PackageError, match="not the columns of X"):
        convert(_onnx_model(["a", "z"], columns=2), _signature(numbers))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            lambda X, y: HistGradientBoostingClassifier(max_iter=3).fit(X, y),
            "HistGradientBoostingClassifier cannot be converted",
        ),
        (lambda X, y: LinearSVC().fit(X, y), "LinearSVC gives no probability"),
        (lambda X, y: object(), r"builtins\.object cannot be converted"),
        (lambda X, y: lightgbm.LGBMClassifier(**QUIET, linear_tree=True).fit(X, y), "linear trees"),
        (lambda X, y: lightgbm.LGBMClassifier(**QUIET).fit(X.assign(c=X["a"] ** 2), y), "columns that X does not have: c"),
        (lambda X, y: lightgbm.LGBMRegressor(**QUIET, reg_sqrt=True).fit(X, y), "regression sqrt"),
        (lambda X, y: lightgbm.LGBMClassifier(**QUIET).fit(X, np.arange(len(y)) % 3), "multiclass"),
        (lambda X, y: RandomForestClassifier(2).fit(X, np.arange(len(y)) % 3), r"knows the labels \["),
    ],
)
def test_what_cannot_be_packaged_is_named(made, said):
    X, y = _frame(missing=False)
    numbers = X[["a", "b"]]
    with pytest.raises(PackageError, match=said):
        convert(made(numbers, y), _signature(numbers))


def test_an_estimator_that_skl2onnx_does_not_know_is_named_with_what_works():
    class Mean(LogisticRegression):
        pass

    X, y = _frame(missing=False)
    numbers = X[["a", "b"]]
    with pytest.raises(PackageError, match="Mean cannot be converted") as caught:
        convert(Mean().fit(numbers, y), _signature(numbers))
    assert "LGBMClassifier" in caught.value.fix


@settings(max_examples=500)
@given(threshold=st.one_of(st.floats(-1e299, 1e299), st.floats(-2e-35, 2e-35)), number=st.floats(width=32, allow_nan=False))
def test_a_threshold_rounded_down_decides_every_float32_as_the_double_did(threshold, number):
    bound = bound_of(threshold)
    near = np.float32(bound)
    with np.errstate(over="ignore"):
        beside = [np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    for each in (np.float32(number), near, *beside):
        taken = 0.0 if abs(float(each)) <= float(np.float32(1e-35)) else float(each)
        assert (taken <= threshold) == (each <= np.float32(bound))


def test_models_name_no_operator_of_another_domain():
    X, y = _frame()
    model = onnx.load_from_string(convert(lightgbm.LGBMClassifier(**QUIET).fit(X, y), _signature(X)))
    assert {each.domain for each in model.opset_import} == {"", "ai.onnx.ml"}
    assert [(each.name, each.type.tensor_type.elem_type) for each in model.graph.output] == [("score", TensorProto.FLOAT)]
