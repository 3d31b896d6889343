"""The model card: what a version is, what it was made of, how good it is and for whom."""

from typing import Any

import msgspec

from skyloom.kernel.records.definitions import LabelDef
from skyloom.kernel.records.registry import DataVersion, Split
from skyloom.package.signature import Signature
from skyloom.training.evaluate import Evaluation
from skyloom.training.fit import Parameter
from skyloom.training.predict import fitted_names
from skyloom.training.prove import Proof
from skyloom.training.search import Trial

LIBRARIES = (
    "skyloom",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "lightgbm",
    "onnx",
    "skl2onnx",
    "onnxruntime",
    "optuna",
)


class Feature(msgspec.Struct, frozen=True):
    """A column of X. ``importance`` is its share of what the model says of itself (they add up to 1), where it says so."""

    name: str
    type: str
    windowed: bool
    importance: float | None


class Ablation(msgspec.Struct, frozen=True):
    """The same function fitted without the windowed features: its metrics on the same holdout, or why there are none."""

    metrics: dict[str, float] = {}
    error: str | None = None


class Card(msgspec.Struct, frozen=True):
    """Everything there is to know about a version, as ``card.json``."""

    model: str
    doc: str
    task: str
    estimator: str
    label: LabelDef
    parameters: dict[str, Parameter]
    features: tuple[Feature, ...]
    split: Split
    data: DataVersion | None
    commit: str | None
    created_ms: int
    threshold: float
    evaluation: Evaluation
    without_windows: Ablation | None
    proof: Proof
    trials: tuple[Trial, ...] = ()


def importances(model: Any, signature: Signature) -> dict[str, float]:
    """The share of each column, from ``feature_importances_`` of a model fitted on the columns themselves; else empty.

    LightGBM's are the total gain of the splits on a column.
    """
    booster = getattr(model, "booster_", model)
    if callable(getattr(booster, "feature_importance", None)):
        values = booster.feature_importance("gain")
    else:
        values = getattr(model, "feature_importances_", None)
    names = fitted_names(model, signature)
    if values is None or len(values) != len(names) or not sum(values):
        return {}
    return {name: float(value) / float(sum(values)) for name, value in zip(names, values, strict=True)}


def bill_of_materials() -> dict[str, str]:
    """Python and the libraries that make a package, with their versions."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
