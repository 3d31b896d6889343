"""LightGBM models as ONNX: strings to the codes of their categories, then the trees."""

from collections.abc import Sequence
from typing import Any

from skyloom.kernel.errors import PackageError
from skyloom.package.signature import Signature
from skyloom.training.graph import MATRIX, beside, model_of
from skyloom.training.trees import Ensemble

_IDENTITY = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
_EXPONENTIAL = ("poisson", "gamma", "tweedie")
_LOGISTIC = ("binary", "cross_entropy")
_TINY = -1e-30  # lost in every sum but that of nothing


def is_lightgbm(model: object) -> bool:
    """Whether it is a Booster, or an estimator of LightGBM's scikit-learn interface."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(model).__mro__}
    return not names.isdisjoint({"lightgbm.basic.Booster", "lightgbm.sklearn.LGBMModel"})


def convert_lightgbm(model: Any, signature: Signature) -> bytes:
    """A model that was fitted on columns of X (strings as pandas categories), with the inputs of ``signature``."""
    booster = getattr(model, "booster_", model)
    columns = fitted_columns(model, signature)
    texts = [each.name for each in signature.inputs if each.is_text and each.name in columns]
    in_order = [name for name in columns if name in texts]
    categories = dict(zip(in_order, booster.pandas_categorical or [], strict=False))
    unknown = [name for name in texts if name not in categories]
    if unknown:
        raise PackageError(
            f"LightGBM was fitted without the categories of {', '.join(unknown)}", fix="fit it on X as it is given"
        )
    nodes = [_encode(name, categories[name]) for name in columns if name in categories]
    nodes.append(beside([_code(name) if name in categories else name for name in columns], MATRIX))
    return model_with_trees(booster, nodes, MATRIX, signature)


def fitted_columns(model: Any, signature: Signature) -> list[str]:
    """The columns that it was fitted on, in order: all of X or some of it."""
    booster = getattr(model, "booster_", model)
    names = [str(name) for name in getattr(model, "feature_names_in_", booster.feature_name())]
    if len(names) == len(signature.inputs) and all(name.startswith("Column_") for name in names):
        return list(signature.names)
    strange = [name for name in names if name not in signature.names]
    if strange:
        raise PackageError(
            f"LightGBM was fitted on columns that X does not have: {', '.join(strange[:5])}",
            tried=f"X has {', '.join(signature.names)}",
            fix="declare them as features, or put the change of columns into a scikit-learn Pipeline",
        )
    return names


def _code(name: str) -> str:
    return f"{name}:code"


def _encode(name: str, categories: Sequence[str]) -> Any:
    """Category to code; a missing or unknown one is NaN, which is what LightGBM makes of it."""
    from onnx import helper

    codes = [float(code) for code in range(len(categories))]
    return helper.make_node(
        "LabelEncoder",
        [name],
        [_code(name)],
        domain="ai.onnx.ml",
        keys_strings=list(categories),
        values_floats=codes,
        default_float=float("nan"),
    )


def model_with_trees(booster: Any, nodes: Sequence[Any], features: str, signature: Signature, like: Any = None) -> bytes:
    """The model in which ``nodes`` make the tensor ``features`` [rows, columns] that the booster then scores."""
    dump = booster.dump_model()
    objective, *options = str(dump.get("objective", "")).split()
    _check(booster, dump, objective, options)
    scale = _scale(dump, options)
    ensemble = Ensemble()
    for number, tree in enumerate(dump["tree_info"]):
        ensemble.add_tree(number, tree["tree_structure"], scale)
    if objective in _LOGISTIC:
        trees = _logistic(ensemble, len(dump["tree_info"]), features)
        return model_of([*nodes, trees], "trees:probabilities", 1, signature, like)
    trees = _sum(ensemble, features, exponential=objective in _EXPONENTIAL)
    return model_of([*nodes, *trees], trees[-1].output[0], None, signature, like)


def _check(booster: Any, dump: dict[str, Any], objective: str, options: Sequence[str]) -> None:
    known = (*_LOGISTIC, *_IDENTITY, *_EXPONENTIAL)
    if objective not in known or "sqrt" in options or dump["num_tree_per_iteration"] != 1:
        given = " ".join([objective or "of your own", *options])
        raise PackageError(f"LightGBM's objective {given!r} cannot be packaged", tried=f"these can: {', '.join(known)}")
    if "is_linear=1" in booster.model_to_string(num_iteration=1):
        raise PackageError("LightGBM's linear trees cannot be packaged", fix="leave linear_tree out")


def _scale(dump: dict[str, Any], options: Sequence[str]) -> float:
    """What the leaves are multiplied by: a random forest averages its trees; ``sigmoid:k`` sharpens the logistic."""
    sharpness = next((float(option.split(":")[1]) for option in options if option.startswith("sigmoid:")), 1.0)
    return sharpness / len(dump["tree_info"]) if dump["average_output"] else sharpness


def _logistic(ensemble: Ensemble, trees: int, features: str) -> Any:
    """The probabilities. The operator's own logistic is used: it answers each row alone, to the last bit."""
    from onnx import helper

    # With no negative weight the operator takes the sum for a probability already, so there is always one.
    ensemble.add_tree(trees, {"leaf_value": _TINY}, 1.0)
    return helper.make_node(
        "TreeEnsembleClassifier",
        [features],
        ["trees:label", "trees:probabilities"],
        domain="ai.onnx.ml",
        post_transform="LOGISTIC",
        classlabels_int64s=[0, 1],
        **ensemble.attributes("class"),
    )


def _sum(ensemble: Ensemble, features: str, *, exponential: bool) -> list[Any]:
    """The sum of the trees, or its exponential."""
    from onnx import helper

    attributes = ensemble.attributes("target")
    nodes = [
        helper.make_node("TreeEnsembleRegressor", [features], ["trees:sum"], domain="ai.onnx.ml", n_targets=1, **attributes)
    ]
    return [*nodes, helper.make_node("Exp", ["trees:sum"], ["trees:value"])] if exponential else nodes
