"""What a model file asks for, told from its bytes alone. The oracle is the onnx library."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from skyloom.kernel.errors import PackageError
from skyloom.package.inspection import inspect_model


def _model(nodes, initializers=(), **more):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(list(nodes), "g", [value], [score], list(initializers))
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)], **more
    )


def _simple():
    return _model([helper.make_node("Neg", ["x"], ["score"])])


def test_operators_are_those_of_all_graphs_inside():
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Exp", ["x"], ["z"])], "c", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    )
    constant = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    model = _model([constant, helper.make_node("If", ["yes"], ["score"], then_branch=branch, else_branch=other)])
    found = inspect_model(model.SerializeToString())
    assert found.operators == {"Constant", "If", "Neg", "Exp"}
    assert not found.rowwise


def test_only_operators_that_take_each_row_by_itself_are_rowwise():
    assert inspect_model(_simple().SerializeToString()).rowwise
    weight = numpy_helper.from_array(np.ones((1, 1), np.float32), "w")
    assert not inspect_model(
        _model([helper.make_node("MatMul", ["x", "w"], ["score"])], [weight]).SerializeToString()
    ).rowwise


def test_data_in_other_files_is_refused_wherever_it_stands():
    tensor = numpy_helper.from_array(np.ones((1, 1), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    for model in (
        _model([helper.make_node("Add", ["x", "w"], ["score"])], [tensor]),
        _model([helper.make_node("Constant", [], ["score"], value=tensor)]),
    ):
        with pytest.raises(PackageError, match="outside of the file"):
            inspect_model(model.SerializeToString())


def test_operators_of_other_domains_and_functions_are_refused():
    foreign = _model([helper.make_node("Neg", ["x"], ["score"], domain="com.evil")])
    with pytest.raises(PackageError, match=r"com\.evil"):
        inspect_model(foreign.SerializeToString())
    imported = _simple()
    imported.opset_import.append(helper.make_opsetid("com.other", 1))
    with pytest.raises(PackageError, match=r"com\.other"):
        inspect_model(imported.SerializeToString())
    own = _simple()
    own.functions.add(name="f", domain="")
    with pytest.raises(PackageError, match="functions"):
        inspect_model(own.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"\x00", b"not a model", b"\xff" * 40, b"<html></html>"])
def test_what_is_no_model_is_refused(content):
    with pytest.raises(PackageError):
        inspect_model(content)


_TREES = _model(
    [
        helper.make_node(
            "TreeEnsembleRegressor",
            ["x"],
            ["score"],
            domain="ai.onnx.ml",
            n_targets=1,
            nodes_treeids=[0, 0, 0],
            nodes_nodeids=[0, 1, 300],
            nodes_featureids=[0, 0, 0],
            nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
            nodes_values=[0.5, -1.0, 3e38],
            nodes_truenodeids=[1, 0, 0],
            nodes_falsenodeids=[300, 0, 0],
            target_treeids=[0, 0],
            target_nodeids=[1, 300],
            target_ids=[0, 0],
            target_weights=[1.0, -2.0],
        )
    ]
).SerializeToString()


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, len(_TREES) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_model_is_read_as_the_onnx_library_reads_it_or_refused(at, byte, cut):
    damaged = _TREES[:at] if cut else _TREES[:at] + bytes([byte]) + _TREES[at + 1 :]
    try:
        operators = inspect_model(damaged).operators
    except PackageError:
        return
    try:
        parsed = onnx.load_from_string(damaged)
    except Exception:  # noqa: BLE001
        return  # stricter than we are: ONNX Runtime refuses it in turn
    assert operators == {node.op_type for node in parsed.graph.node}
