"""What a training function returned, as ONNX."""

from typing import Any

from skyloom.kernel.errors import PackageError, SkyloomError
from skyloom.package.signature import Signature
from skyloom.training.convert_lightgbm import convert_lightgbm, is_lightgbm
from skyloom.training.convert_sklearn import check_sklearn, convert_sklearn, is_sklearn
from skyloom.training.graph import inputs_of, model_of, renamed

WORKS = (
    "LightGBM (Booster, LGBMClassifier, LGBMRegressor), scikit-learn estimators that skl2onnx knows, Pipelines of them that "
    "begin with a ColumnTransformer (encode the strings there) and may end with LightGBM, "
    "or an onnx.ModelProto with one input for each column of X"
)


def convert(estimator: Any, signature: Signature) -> bytes:
    """The ONNX model of a fitted estimator, with the inputs and the output of ``signature``.

    Raises `PackageError`, naming the estimator's class and what works, when there is no way.
    """
    try:
        if is_onnx(estimator):
            return _adopt(estimator, signature)
        if is_lightgbm(estimator):
            return convert_lightgbm(estimator, signature)
        if is_sklearn(estimator):
            check_sklearn(estimator, signature)
            return convert_sklearn(estimator, signature)
    except SkyloomError:
        raise
    except Exception as error:  # converters raise whatever they like
        raise _unknown(estimator, f"{type(error).__name__}: {str(error)[:300]}") from error
    raise _unknown(estimator, "LightGBM, scikit-learn, onnx")


def _unknown(estimator: object, tried: str) -> PackageError:
    kind = type(estimator)
    return PackageError(
        f"{kind.__module__}.{kind.__name__} cannot be converted to ONNX", tried=tried, fix=f"return one of {WORKS}"
    )


def is_onnx(model: object) -> bool:
    """Whether it is an ``onnx.ModelProto``."""
    return type(model).__name__ == "ModelProto"


def _adopt(model: Any, signature: Signature) -> bytes:
    """A finished model: its inputs are the columns of X; its score is its one float output (of two columns: the second)."""
    from onnx import TensorProto

    wanted = {each.name: each.type.tensor_type.elem_type for each in inputs_of(signature)}
    given = {each.name: each.type.tensor_type.elem_type for each in model.graph.input}
    if any(wanted.get(name) != kind for name, kind in given.items()):
        raise PackageError(
            f"the ONNX model's inputs are not the columns of X: {sorted(given)}", tried=f"X has {sorted(wanted)}"
        )
    model = renamed(model, inputs=False)
    outputs = [each for each in model.graph.output if each.type.tensor_type.elem_type == TensorProto.FLOAT]
    if len(outputs) != 1:
        raise PackageError(f"the ONNX model has {len(outputs)} float outputs", fix="let it have one: the score of each row")
    shape = outputs[0].type.tensor_type.shape.dim
    column = 1 if len(shape) == 2 and shape[1].dim_value == 2 else None
    return model_of(list(model.graph.node), outputs[0].name, column, signature, model)
