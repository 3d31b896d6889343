"""ONNX graphs that keep the convention of a package: one input for each column of X, one output ``score``.

Names that are made here hold a colon, which no column's name does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from skyloom.package.signature import Signature

OPSETS = {"": 21, "ai.onnx.ml": 3}
MATRIX = "model:X"
_IR_VERSION = 10


def inputs_of(signature: Signature) -> list[Any]:
    """The graph's inputs: [rows, 1], of strings or floats."""
    from onnx import TensorProto, helper

    kinds = {True: TensorProto.STRING, False: TensorProto.FLOAT}
    return [helper.make_tensor_value_info(each.name, kinds[each.is_text], [None, 1]) for each in signature.inputs]


def beside(names: Sequence[str], output: str) -> Any:
    """A node that puts columns [rows, 1] beside each other: [rows, columns]."""
    from onnx import helper

    return helper.make_node("Concat", list(names), [output], axis=1)


def model_of(nodes: Sequence[Any], values: str, column: int | None, signature: Signature, like: Any = None) -> bytes:
    """The bytes of a model of ``nodes``, whose score is in the tensor ``values``.

    ``column`` is the place of the score in ``values`` [rows, columns]; ``None``: ``values`` holds one number a row.
    ``like`` is a model whose initializers and versions of operators are taken over.
    """
    from onnx import TensorProto, checker, helper

    tail, constants = _flat(values, signature.output) if column is None else _column(values, column, signature.output)
    output = helper.make_tensor_value_info(signature.output, TensorProto.FLOAT, [None])
    kept = [] if like is None else list(like.graph.initializer)
    graph = helper.make_graph([*nodes, *tail], "model", inputs_of(signature), [output], [*kept, *constants])
    opsets = OPSETS if like is None else {each.domain: each.version for each in like.opset_import}
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION, producer_name="skyloom")
    checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _flat(values: str, output: str) -> tuple[list[Any], list[Any]]:
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", [values], ["score:float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["score:float", "score:shape"], [output]),
    ]
    return nodes, [numpy_helper.from_array(np.array([-1], np.int64), "score:shape")]


def _column(values: str, column: int, output: str) -> tuple[list[Any], list[Any]]:
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gather", [values, "score:column"], ["score:one"], axis=1),
        helper.make_node("Cast", ["score:one"], [output], to=TensorProto.FLOAT),
    ]
    return nodes, [numpy_helper.from_array(np.array(column, np.int64), "score:column")]


def renamed(model: Any, *, inputs: bool) -> Any:
    """The model with ``model:`` before all names that it chose; before those of its inputs where ``inputs`` is set."""
    from onnx import compose

    return compose.add_prefix(model, "model:", rename_inputs=inputs)
