"""Models asked by one array in place of many: the bits are those of ONNX Runtime asked by all of them."""

import struct
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from skyloom.kernel.schema import Type
from skyloom.package import Input, Signature
from skyloom.package.joined import joined
from skyloom.package.scorer import Scorer

WIDTH = 11
NAMES = tuple(f"x{at}" for at in range(WIDTH))
SIGNATURE = Signature(tuple(Input(name, Type.FLOAT) for name in NAMES), "regression")
RANDOM = np.random.default_rng(5)


def join(names: tuple[str, ...] = NAMES, axis: int = 1) -> Any:
    return helper.make_node("Concat", list(names), ["X"], axis=axis)


def model(
    nodes: list[Any], constants: dict[str, Any], inputs: tuple[str, ...] = NAMES, outputs: tuple[str, ...] = ("score",)
) -> bytes:
    """A model of one column for each input."""
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in inputs]
    answered = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "m", given, answered, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def weights(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


FLAT = helper.make_node("Reshape", ["Y", "flat"], ["score"])
LAST = {"flat": np.array([-1], np.int64)}
KINDS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "linear": (
        [helper.make_node("LinearRegressor", ["X"], ["Y"], domain="ai.onnx.ml", coefficients=weights(WIDTH).tolist())],
        {},
    ),
    "network": (
        [
            helper.make_node("Gemm", ["X", "a", "b"], ["A"]),
            helper.make_node("Tanh", ["A"], ["B"]),
            helper.make_node("MatMul", ["B", "c"], ["Y"]),
        ],
        {"a": weights(WIDTH, 37), "b": weights(37), "c": weights(37, 1)},
    ),
    "sum": ([helper.make_node("ReduceSum", ["X", "rows"], ["Y"])], {"rows": np.array([1], np.int64)}),
    "softmax": (
        [
            helper.make_node("Softmax", ["X"], ["A"], axis=1),
            helper.make_node("MatMul", ["A", "c"], ["Y"]),
        ],
        {"c": weights(WIDTH, 1)},
    ),
    "normed": (
        [
            helper.make_node("Normalizer", ["X"], ["A"], domain="ai.onnx.ml", norm="L2"),
            helper.make_node("ReduceMean", ["A"], ["Y"], axes=[1]),
        ],
        {},
    ),
    "imputed": (
        [
            helper.make_node(
                "Imputer", ["X"], ["A"], domain="ai.onnx.ml", imputed_value_floats=[0.5], replaced_value_float=float("nan")
            ),
            helper.make_node("MatMul", ["A", "c"], ["Y"]),
        ],
        {"c": weights(WIDTH, 1)},
    ),
}
MODELS = {kind: model([join(), *nodes, FLAT], {**constants, **LAST}) for kind, (nodes, constants) in KINDS.items()}
SCORERS = {kind: Scorer(content, SIGNATURE) for kind, content in MODELS.items()}
SESSIONS = {
    kind: onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]) for kind, content in MODELS.items()
}
ROWS = st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=WIDTH, max_size=WIDTH)


def bits(value: float) -> bytes:
    return b"nan" if value != value else struct.pack("<d", value)


def oracle(kind: str, row: list[float | None]) -> float:
    feed = {
        name: np.array([[np.nan if value is None else value]], np.float32) for name, value in zip(NAMES, row, strict=True)
    }
    return float(SESSIONS[kind].run(["score"], feed)[0][0])


@pytest.mark.parametrize("kind", MODELS)
@given(row=ROWS)
@settings(deadline=None, max_examples=60)
def test_a_row_given_whole_has_the_bits_of_its_columns(kind: str, row: list[float | None]) -> None:
    assert bits(SCORERS[kind].score_row(row)) == bits(oracle(kind, row))


@pytest.mark.parametrize("kind", MODELS)
def test_these_models_are_given_their_rows_whole(kind: str) -> None:
    found = joined(MODELS[kind], NAMES)
    assert found is not None
    assert found.name == "X"
    asked = onnxruntime.InferenceSession(found.model, providers=["CPUExecutionProvider"]).get_inputs()
    assert [(each.name, each.shape[1]) for each in asked] == [("X", WIDTH)]


BRANCH = helper.make_graph(
    [helper.make_node("Identity", ["x0"], ["inner"])],
    "b",
    [],
    [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
)
SUM, ROW = helper.make_node("ReduceSum", ["X", "rows"], ["Y"]), {"rows": np.array([1], np.int64), **LAST}
OTHERS = {
    "another order": model([join(NAMES[::-1]), SUM, FLAT], ROW),
    "not all of them": model([join(NAMES[1:]), SUM, FLAT], ROW),
    "rows under each other": model([join(axis=0), SUM, FLAT], ROW),
    "one is looked at again": model(
        [join(), SUM, helper.make_node("Add", ["Y", "x3"], ["Z"]), helper.make_node("Reshape", ["Z", "flat"], ["score"])],
        ROW,
    ),
    "a branch looks at one": model(
        [join(), SUM, helper.make_node("If", ["yes"], ["Z"], then_branch=BRANCH, else_branch=BRANCH), FLAT],
        {**ROW, "yes": np.array(True)},
    ),
    "the row is an answer, too": model([join(), SUM, FLAT], ROW, outputs=("score", "X")),
    "an input is an answer, too": model([join(), SUM, FLAT], ROW, outputs=("score", "x0")),
    "another operator": model([helper.make_node("Sum", list(NAMES), ["X"]), SUM, FLAT], ROW),
    "large": model([join(), SUM, FLAT], {**ROW, "more": np.zeros(1 << 18, np.float32)}),
    "no model": b"\x3a\xff",
    "nothing": b"",
}


@pytest.mark.parametrize("why", OTHERS)
def test_others_are_left_as_they_are(why: str) -> None:
    assert joined(OTHERS[why], NAMES) is None


@given(at=st.integers(0, len(MODELS["network"]) - 1), byte=st.integers(0, 255), cut=st.booleans())
@settings(deadline=None, max_examples=300)
def test_damage_is_no_error(at: int, byte: int, cut: bool) -> None:
    content = MODELS["network"]
    joined(content[:at] if cut else content[:at] + bytes([byte]) + content[at + 1 :], NAMES)
