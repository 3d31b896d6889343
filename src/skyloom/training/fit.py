"""Calls the user's training function, and says what it did wrong in terms of their code."""

import contextlib
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from skyloom.kernel.errors import TrainingError
from skyloom.training.convert import is_onnx

Parameter = float | int | str | bool


def fit(function: Callable[..., Any], X: Any, y: Any, parameters: Mapping[str, Parameter]) -> Any:
    """What ``function(X, y, **parameters)`` returns: a fitted estimator. It gets copies of its own.

    What it prints goes to stderr, since stdout belongs to the command's answer; what LightGBM says goes to the logger
    ``lightgbm``. Raises `TrainingError` when it raises,
    returns nothing, or returns what cannot predict.
    """
    import lightgbm

    name = getattr(function, "__name__", "the training function")
    lightgbm.register_logger(logging.getLogger("lightgbm"))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            model = function(X.copy(), y.copy(), **parameters)
    except (Exception, SystemExit) as error:
        call = f"{name}(X of {len(X)} rows and {X.shape[1]} columns, y, {_written(parameters)})"
        raise TrainingError(
            f"{name} failed: {type(error).__name__}: {error}",
            tried=f"{call}\n{_trimmed(error, function)}",
            fix="mend the function, or the data that it gets",
        ) from error
    _check(model, name)
    return model


def _check(model: object, name: str) -> None:
    if model is None:
        raise TrainingError(f"{name} returned nothing", fix="let it end with: return model")
    if isinstance(model, type):
        raise TrainingError(
            f"{name} returned the class {model.__name__}, not a model", fix=f"return {model.__name__}(...).fit(X, y)"
        )
    if not is_onnx(model) and not callable(getattr(model, "predict", None)):
        raise TrainingError(
            f"{name} returned a {type(model).__name__}, which cannot predict", fix="return a fitted estimator"
        )
    if not _is_fitted(model):
        raise TrainingError(f"{name} returned a {type(model).__name__} that was not fitted", fix="return model.fit(X, y)")


def _is_fitted(model: object) -> bool:
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(model, BaseEstimator):
        return True
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


def _written(parameters: Mapping[str, Parameter]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items())


def _trimmed(error: BaseException, function: Callable[..., Any]) -> str:
    """The traceback, of the user's file alone."""
    file = inspect.getfile(inspect.unwrap(function))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return "".join(traceback.format_list(frames)).rstrip()
