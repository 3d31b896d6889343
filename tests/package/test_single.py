"""Rows of numbers alone, which are scored in place: the bits are those of ONNX Runtime called on fresh arrays."""

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from skyloom.kernel.schema import Type
from skyloom.package import Input, Signature
from skyloom.package.scorer import Scorer
from skyloom.package.single import SingleRow

NUMBERS = Signature((Input("a", Type.FLOAT), Input("b", Type.INT), Input("c", Type.BOOL)), "regression")
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none()
)


def model(shape: list[int]) -> bytes:
    """``a + b + c``, answered as ``shape``."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in "abc"]
    nodes = [
        helper.make_node("Add", ["a", "b"], ["ab"]),
        helper.make_node("Add", ["ab", "c"], ["abc"]),
        helper.make_node("Reshape", ["abc", "shape"], ["score"]),
    ]
    output = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None] * len(shape))
    constant = helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape)
    graph = helper.make_graph(nodes, "m", inputs, [output], [constant])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


SCORER = Scorer(model([-1]), NUMBERS)
SESSION = onnxruntime.InferenceSession(model([-1]), providers=["CPUExecutionProvider"])


def bits(value: float) -> bytes:
    return b"nan" if value != value else struct.pack("<d", value)


def oracle(row: tuple[float | None, ...]) -> float:
    with np.errstate(over="ignore"):
        arrays = [np.array([[np.nan if value is None else value]], np.float64).astype(np.float32) for value in row]
    return float(SESSION.run(["score"], dict(zip("abc", arrays, strict=True)))[0][0])


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=8))
@settings(deadline=None)
def test_rows_of_numbers_have_the_bits_of_fresh_arrays(rows):
    assert [bits(SCORER.score_row(row)) for row in rows] == [bits(oracle(row)) for row in rows]


def test_a_runtime_that_is_made_otherwise_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is called of ONNX Runtime is no part of its interface; without it the way is longer, the answers are these."""
    rows = [(0.5, 1, True), (None, 2, False), (1e300, -3, None)]
    wanted = [bits(SCORER.score_row(row)) for row in rows]
    binding = onnxruntime.InferenceSession.io_binding
    monkeypatch.setattr(onnxruntime.InferenceSession, "io_binding", lambda session: Other(binding(session)))
    monkeypatch.setattr(
        onnxruntime.InferenceSession,
        "run_with_iobinding",
        lambda session, bound: bound.session.run_with_iobinding(bound.own, None),
    )
    scorer = Scorer(model([-1]), NUMBERS)
    assert [bits(scorer.score_row(row)) for row in rows * 2] == wanted * 2


class Other:
    """A binding without what is looked for."""

    def __init__(self, binding: Any) -> None:
        self.own, self.session = binding._iobinding, binding._session
        self.bind_input, self.bind_output = binding.bind_input, binding.bind_output


def test_what_float32_cannot_hold_is_infinite_and_forgotten_by_the_next_row():
    assert [SCORER.score_row(row) for row in [(1e300, 1, True), (0.5, 1, True), (None, 1, False)]][:2] == [np.inf, 2.5]
    assert SCORER.score_row((0.25, 2, False)) == 2.25


def test_every_thread_has_rows_of_its_own():
    rows = [(float(number), number, number % 2 == 0) for number in range(400)]
    wanted = [oracle(row) for row in rows]
    with ThreadPoolExecutor(4) as pool:
        assert [list(pool.map(SCORER.score_row, rows)) for _ in range(5)] == [wanted] * 5


@pytest.mark.parametrize("row", [(1.0, 2), (1.0, 2, True, 4.0)])
def test_a_row_of_another_width_is_none(row):
    with pytest.raises(ValueError, match=f"{len(row)} values for 3 inputs"):
        SCORER.score_row(row)


def with_a_text() -> bytes:
    """``a`` and 1 or 2 for the texts "one" and "two"."""
    inputs = [
        helper.make_tensor_value_info("t", TensorProto.STRING, [None, 1]),
        helper.make_tensor_value_info("a", TensorProto.FLOAT, [None, 1]),
    ]
    known = {"keys_strings": ["one", "two"], "values_floats": [1.0, 2.0], "default_float": 0.0}
    nodes = [
        helper.make_node("LabelEncoder", ["t"], ["n"], domain="ai.onnx.ml", **known),
        helper.make_node("Add", ["n", "a"], ["sum"]),
        helper.make_node("Reshape", ["sum", "shape"], ["score"]),
    ]
    output = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])
    graph = helper.make_graph(nodes, "m", inputs, [output], [helper.make_tensor("shape", TensorProto.INT64, [1], [-1])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


class Public:
    """A session with nothing but its interface."""

    def __init__(self, session: Any) -> None:
        self.run = session.run


def test_texts_are_scored_in_place_as_by_the_interface_of_the_runtime() -> None:
    signature = Signature((Input("t", Type.STRING), Input("a", Type.FLOAT)), "regression")
    session = onnxruntime.InferenceSession(with_a_text(), providers=["CPUExecutionProvider"])
    ways = [SingleRow(each, signature, frozenset(signature.names)) for each in (session, Public(session))]
    rows = [("one", 0.5), ("two", 0.5), (None, 1.5), ("three", None), ("one", 1e300), ("two", -1)]
    for way in ways:
        scores = [way.score(row) for row in rows]
        assert [bits(score) for score in scores] == [bits(score) for score in (1.5, 2.5, 1.5, float("nan"), np.inf, 1.0)]
