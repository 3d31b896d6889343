"""scikit-learn estimators and pipelines as ONNX, by skl2onnx; LightGBM at the end of a pipeline by our own trees."""

import copy
from typing import Any, cast

import numpy as np

from skyloom.kernel.errors import PackageError
from skyloom.package.signature import MISSING_STRING, Signature
from skyloom.training.convert_lightgbm import is_lightgbm, model_with_trees
from skyloom.training.graph import MATRIX, OPSETS, beside, model_of, renamed


def is_sklearn(model: object) -> bool:
    """Whether it is an estimator of scikit-learn's kind."""
    return any(kind.__module__ == "sklearn.base" and kind.__name__ == "BaseEstimator" for kind in type(model).__mro__)


def convert_sklearn(estimator: Any, signature: Signature) -> bytes:
    """An estimator that was fitted on X, with the inputs of ``signature``."""
    from sklearn.pipeline import Pipeline

    estimator = _with_missing_categories(estimator)
    if isinstance(estimator, Pipeline) and len(estimator) > 1 and is_lightgbm(estimator[-1]):
        booster = cast(Any, estimator[-1]).booster_
        model, nodes = _translate(estimator[:-1], signature)
        return model_with_trees(booster, nodes, model.graph.output[0].name, signature, _both_opsets(model))
    model, nodes = _translate(estimator, signature)
    column = 1 if signature.task == "binary" else None
    return model_of(nodes, model.graph.output[-1].name, column, signature, model)


def _translate(estimator: Any, signature: Signature) -> tuple[Any, list[Any]]:
    """skl2onnx's model, its names made ours, and its nodes, which begin at the inputs of ``signature``."""
    from skl2onnx import convert_sklearn as convert
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    by_name = _takes_columns(estimator)
    names = list(getattr(estimator, "feature_names_in_", signature.names))
    if by_name:
        kinds = {True: StringTensorType, False: FloatTensorType}
        types = [(each.name, kinds[each.is_text]([None, 1])) for each in signature.inputs]
    else:
        types = [("X", FloatTensorType([None, len(names)]))]
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    free = "made" + "_" * max(len(name) for name in signature.names)  # skl2onnx mixes up outputs with inputs of their name
    outputs = [(f"{free}{number}", None) for number in range(2 if options else 1)]
    made = convert(estimator, initial_types=types, final_types=outputs, options=options, target_opset=OPSETS)
    model = renamed(made, inputs=not by_name)
    return model, list(model.graph.node) if by_name else [beside(names, MATRIX), *model.graph.node]


def _takes_columns(estimator: Any) -> bool:
    """Whether it picks columns by name, so that each must be an input of its own."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    first = estimator
    while isinstance(first, Pipeline):
        first = first[0]
    return isinstance(first, ColumnTransformer)


def _both_opsets(model: Any) -> Any:
    """The model with the versions of all operators that trees need."""
    from onnx import helper

    present = {each.domain for each in model.opset_import}
    model.opset_import.extend(helper.make_opsetid(*each) for each in OPSETS.items() if each[0] not in present)
    return model


def _with_missing_categories(estimator: Any) -> Any:
    """A copy in which encoders know a missing string by the text that it has in a package."""
    from sklearn.preprocessing import OneHotEncoder

    estimator = copy.deepcopy(estimator)
    for encoder in _parts(estimator):
        if isinstance(encoder, OneHotEncoder):
            encoder.categories_ = [_filled(categories) for categories in encoder.categories_]
    return estimator


def _filled(categories: Any) -> Any:
    missing = [isinstance(category, float) and np.isnan(category) for category in categories]
    return np.where(missing, MISSING_STRING, categories) if categories.dtype == object else categories


def _parts(estimator: Any) -> list[Any]:
    """The estimator and the fitted ones inside of it."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline

    inside: list[Any] = []
    if isinstance(estimator, Pipeline):
        inside = [part for _, part in estimator.steps]
    elif isinstance(estimator, FeatureUnion):
        inside = [part for _, part in estimator.transformer_list]
    elif isinstance(estimator, ColumnTransformer):
        inside = [part for _, part, _ in estimator.transformers_]
    return [estimator, *(deep for part in inside for deep in _parts(part))]


def check_sklearn(estimator: Any, signature: Signature) -> None:
    """Refuse what cannot answer the task; `PackageError`."""
    name = type(estimator).__name__
    if "HistGradientBoosting" in name:
        raise PackageError(
            f"{name} cannot be converted: skl2onnx fails on it", fix="return a LightGBM model, which is the same kind"
        )
    if signature.task != "binary":
        return
    if not hasattr(estimator, "predict_proba"):
        raise PackageError(f"{name} gives no probability of the label", fix="return a classifier with predict_proba")
    if len(estimator.classes_) != 2:
        raise PackageError(f"{name} knows the labels {list(estimator.classes_)}, not two", fix="fit it on y as it is given")
