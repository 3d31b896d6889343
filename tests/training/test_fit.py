"""What a training function does wrong is said in terms of its own code."""

import numpy as np
import pandas as pd
import pytest

from skyloom.kernel.errors import TrainingError
from skyloom.training.fit import fit

X = pd.DataFrame({"a": np.arange(20, dtype="float32")})
Y = pd.Series([0, 1] * 10, dtype="int8")


def _helper(X):
    return X["missing"]


def raises(X, y):
    return _helper(X)


def leaves(X, y):
    raise SystemExit(3)


def nothing(X, y):
    X["a"] = 0.0
    y[:] = 0


def text(X, y):
    return "a model"


def a_class(X, y):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression


def unfitted(X, y):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def unfitted_trees(X, y):
    from lightgbm import LGBMClassifier

    return LGBMClassifier()


def test_the_traceback_shows_the_users_lines_alone():
    with pytest.raises(TrainingError, match="raises failed: KeyError: 'missing'") as caught:
        fit(raises, X, Y, {})
    told = caught.value.tried
    assert 'return X["missing"]' in told
    assert "return _helper(X)" in told
    assert "site-packages" not in told
    assert "skyloom/training" not in told


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (leaves, "SystemExit"),
        (nothing, "returned nothing"),
        (text, "returned a str"),
        (a_class, "returned the class LogisticRegression"),
        (unfitted, "LogisticRegression that was not fitted"),
        (unfitted_trees, "LGBMClassifier that was not fitted"),
    ],
)
def test_what_is_no_fitted_model_is_named(function, said):
    with pytest.raises(TrainingError, match=said) as caught:
        fit(function, X, Y, {})
    assert caught.value.fix


def test_a_wrong_parameter_is_the_functions_own_error():
    with pytest.raises(TrainingError, match="unexpected keyword argument 'depth'"):
        fit(raises, X, Y, {"depth": 3})


def test_the_function_works_on_copies():
    with pytest.raises(TrainingError):
        fit(nothing, X, Y, {})
    assert X["a"].tolist() == list(range(20))
    assert Y.tolist() == [0, 1] * 10


def test_what_it_prints_goes_to_stderr(capsys):
    def chatty(X, y):
        print("fitting")  # noqa: T201
        raise ValueError("no")

    with pytest.raises(TrainingError):
        fit(chatty, X, Y, {})
    out, err = capsys.readouterr()
    assert (out, err) == ("", "fitting\n")
