"""What a fitted estimator itself answers: the truth that its package is compared with."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.kernel.errors import PackageError
from skyloom.package.signature import MISSING_STRING, Signature
from skyloom.training.convert import is_onnx


def predict(model: Any, X: Any, signature: Signature) -> NDArray[np.float64]:
    """The model's own scores of X, a DataFrame of all inputs; float64 [rows]: probabilities of true, or values."""
    if is_onnx(model):
        return _ask_onnx(model, X, signature)
    given = X[fitted_names(model, signature)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found unknown categories")  # it is asked about them on purpose
        if signature.task == "binary" and hasattr(model, "predict_proba"):
            return np.asarray(model.predict_proba(given), np.float64)[:, 1]
        return np.asarray(model.predict(given), np.float64).reshape(-1)


def fitted_names(model: Any, signature: Signature) -> list[str]:
    """The columns of X that a model was fitted on: all of them, unless it says that it was fewer."""
    names = [str(name) for name in getattr(model, "feature_names_in_", [])]
    return names if names and set(names) <= set(signature.names) else list(signature.names)


def columns_of_frame(X: Any, signature: Signature) -> dict[str, NDArray[Any]]:
    """X as `skyloom.package.Scorer.score` takes it."""
    texts = {each.name for each in signature.inputs if each.is_text}
    return {name: X[name].astype(object).to_numpy() if name in texts else X[name].to_numpy() for name in signature.names}


def _ask_onnx(model: Any, X: Any, signature: Signature) -> NDArray[np.float64]:
    import onnxruntime

    used = {each.name for each in model.graph.input}
    feed: dict[str, Any] = {}
    for name, values in columns_of_frame(X, signature).items():
        if name in used:
            filled = (
                [value if isinstance(value, str) else MISSING_STRING for value in values]
                if values.dtype == object
                else values
            )
            feed[name] = np.asarray(filled, values.dtype).reshape(-1, 1)
    session: Any = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = [answer for answer in session.run(None, feed) if answer.dtype == np.float32]
    if len(answers) != 1 or answers[0].size % len(X):
        raise PackageError("the ONNX model does not give one score a row")
    return answers[0].reshape(len(X), -1)[:, -1].astype(np.float64)
