"""What a model file asks for, read without building or running it: operators, their domains, files outside of it.

An ONNX file may name other files ("external data") and operators of any domain. A package is one file that needs the
standard operators alone; this reads the file's protobuf fields (numbers from onnx.proto of ONNX 1.x) and tells.
"""

import msgspec

from skyloom.kernel.errors import PackageError
from skyloom.package.protobuf import fields

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})

# Operators whose answer for a row does not depend on the other rows, to the last bit: they move values, compare them,
# do one IEEE operation an element, or (trees) add in the same order. Matrix products and vectorised functions do not
# qualify: their kernels treat the rows at the end of a block in another way.
_MOVES = {
    "Concat",
    "Constant",
    "FeatureVectorizer",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Squeeze",
    "Unsqueeze",
    "ArrayFeatureExtractor",
}
_COMPARES = {"Cast", "Equal", "Imputer", "IsNaN", "LabelEncoder", "Not", "OneHotEncoder", "Where"}
_COUNTS = {"Add", "Div", "Mul", "Neg", "Sub", "TreeEnsembleClassifier", "TreeEnsembleRegressor"}
_ROWWISE = frozenset(_MOVES | _COMPARES | _COUNTS)

# Operators that compute a row's answer of that row alone, but with kernels whose last bits may depend on how many rows are
# computed with it. Whether they do on a machine, only a measurement there can tell (`skyloom.serving.batch_cost`).
_PRODUCTS = {"Gemm", "LinearClassifier", "LinearRegressor", "MatMul", "Scaler", "SVMClassifier", "SVMRegressor"}
_CURVES = {"Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "PRelu", "Pow", "Reciprocal"}
_STEPS = {"Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "Abs", "Ceil", "Clip", "Floor", "Round", "Sign"}
_PAIRS = {"And", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Or", "Sum"}
_ROWS = {"ArgMax", "BatchNormalization", "Flatten", "LayerNormalization", "Normalizer", "Softmax"}
_SEPARABLE = frozenset(_ROWWISE | _PRODUCTS | _CURVES | _STEPS | _PAIRS | _ROWS)

_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "opset": {},
}
_ELSEWHERE = "data outside of the file"
_FORBIDDEN = {
    ("model", 20): "training information",
    ("model", 25): "functions of its own",
    ("tensor", 13): _ELSEWHERE,
}
_LOCATION = ("tensor", 14)
"""Where a tensor's data are: 0 is in the file."""
_RUNTIME_FORMAT = b"ORTM"
"""What a flatbuffer of ONNX Runtime has at byte 4. It would be read instead of the protobuf that was inspected."""


class Inspection(msgspec.Struct, frozen=True):
    """The operators that a model uses, and whether a row's answer can depend on what else is in its batch."""

    operators: frozenset[str]

    @property
    def rowwise(self) -> bool:
        """Whether every operator treats each row by itself, to the last bit."""
        return self.operators <= _ROWWISE

    @property
    def separable(self) -> bool:
        """Whether every operator treats each row by itself, but for the last bits."""
        return self.operators <= _SEPARABLE


def inspect_model(model: bytes) -> Inspection:
    """Read a model's operators; `PackageError` when it is no ONNX file or needs more than a package may."""
    operators: set[str] = set()
    if model[4:8] == _RUNTIME_FORMAT:
        raise PackageError("the model file is in ONNX Runtime's own format", fix="convert it to standard ONNX")
    try:
        _walk(model, operators)
    except (IndexError, UnicodeDecodeError) as error:
        raise PackageError("the model file is damaged: it is not an ONNX protobuf", tried=str(error)) from error
    if not operators:
        raise PackageError("the model file holds no operator")
    return Inspection(frozenset(operators))


def _walk(model: bytes, operators: set[str]) -> None:
    waiting = [("model", 0, len(model))]
    while waiting:
        kind, start, end = waiting.pop()
        children = _CHILDREN[kind]
        for number, first, last in fields(model, start, end, bulk=kind == "attribute"):
            if (kind, number) in _FORBIDDEN or ((kind, number) == _LOCATION and any(model[first:last])):
                found = _FORBIDDEN.get((kind, number), _ELSEWHERE)
                raise PackageError(f"the model holds {found}: a package is one file of standard operators")
            if number in children:
                waiting.append((children[number], first, last))
            elif kind == "node" and number == 4:
                operators.add(model[first:last].decode())
            elif (kind, number) in (("node", 7), ("opset", 1)):
                _check_domain(model[first:last].decode())


def _check_domain(domain: str) -> None:
    if domain not in DOMAINS:
        raise PackageError(
            f"the model needs operators of the domain {domain!r}",
            tried="ai.onnx, ai.onnx.ml",
            fix="convert it to standard ONNX",
        )
