"""A model of matrix products, as neural networks are: what batches are for."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numeric_world import NumericWorld

from skyloom.kernel.ids import content_id
from skyloom.kernel.schema import Type
from skyloom.package import Golden, Input, LoadedPackage, Scorer, Signature, save
from skyloom.package.store import opened, read

INPUTS = 4
SIGNATURE = Signature(tuple(Input(f"x{i}", Type.FLOAT) for i in range(INPUTS)), "regression")


def network(width: int, depth: int, seed: int = 0, mixing: bool = False, inputs: int = INPUTS) -> bytes:
    """``depth`` layers of ``width`` rectified units over the inputs, and one output. ``mixing`` adds the batch's mean."""
    from onnx import TensorProto, checker, helper, numpy_helper

    random = np.random.default_rng(seed)
    nodes = [helper.make_node("Concat", [f"x{i}" for i in range(inputs)], ["h0"], axis=1)]
    constants = [helper.make_tensor("flat", TensorProto.INT64, [1], [-1])]
    before = inputs
    for layer in range(depth + 1):
        after = width if layer < depth else 1
        weights = (random.standard_normal((before, after)) / np.sqrt(before)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{layer}"))
        constants.append(numpy_helper.from_array(random.standard_normal(after).astype(np.float32), f"b{layer}"))
        nodes.append(helper.make_node("Gemm", [f"h{layer}", f"w{layer}", f"b{layer}"], [f"g{layer}"]))
        nodes.append(helper.make_node("Relu" if layer < depth else "Identity", [f"g{layer}"], [f"h{layer + 1}"]))
        before = after
    nodes.append(helper.make_node("Reshape", [f"h{depth + 1}", "flat"], ["all"]))
    if mixing:
        nodes += [helper.make_node("ReduceMean", ["all"], ["mean"]), helper.make_node("Add", ["all", "mean"], ["score"])]
    else:
        nodes.append(helper.make_node("Identity", ["all"], ["score"]))
    graph = helper.make_graph(
        nodes,
        "m",
        [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [None, 1]) for i in range(inputs)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()


def some_rows(count: int, seed: int = 0, inputs: int = INPUTS) -> list[tuple[float, ...]]:
    return [tuple(map(float, row)) for row in np.random.default_rng(seed).standard_normal((count, inputs))]


class NetworkWorld(NumericWorld):
    """`NumericWorld` whose columns are plain numbers and whose package has enough golden rows to tell them apart."""

    def __init__(self, folder: Path, max_latency_ms: int = 0) -> None:
        super().__init__(folder, 2)
        self.model = msgspec.structs.replace(self.model, max_latency_ms=max_latency_ms)

    def network(self, width: int = 1536, depth: int = 3, seed: int = 0) -> str:
        """Save the package; its digest."""
        onnx = network(width, depth, seed, inputs=2)
        signature = Signature(tuple(Input(each.name, each.type) for each in self.model.inputs), "regression")
        scorer, rows = Scorer(onnx, signature), some_rows(40, inputs=2)
        files = {
            "model.onnx": onnx,
            "signature.json": msgspec.json.encode(signature),
            "card.json": b"{}",
            "golden.json": msgspec.json.encode(Golden(tuple(rows), tuple(scorer.score_row(row) for row in rows))),
            "bom.json": b"{}",
        }
        definition = content_id(self.model)
        return save(self.objects, files, model="sums", run="r", definition=definition, groups={}, threshold=0.5)

    def opened(self, digest: str) -> LoadedPackage:
        return opened(read(self.objects, digest))


def request_of(name: str, row: tuple[float, ...], at_ms: int) -> dict[str, Any]:
    return {"id": name, "at": at_ms, **{f"x{i}": value for i, value in enumerate(row)}}
