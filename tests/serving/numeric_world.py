"""A world whose requests are numbers alone: key, time, ``x0`` to ``x{k-1}``, and a model that sums them up."""

from pathlib import Path

import msgspec
from serving_world import NOW, World

from skyloom.kernel.expr import Expression, col
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import InputDef, LabelDef, LoopDef, ModelDef, SourceDef
from skyloom.kernel.records.release import Arm, Release, Route
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.package import Golden, Input, Scorer, Signature, save

HOUR = 3_600_000


def readings(width: int, key: Type = Type.STRING) -> SourceDef:
    """``x0`` may be missing, the last column is a whole number and the one before it a truth (from a width of 3 on)."""
    kinds = [Type.FLOAT] * width
    if width >= 3:
        kinds[-2:] = [Type.BOOL, Type.INT]
    columns = [Field(f"x{i}", kind, nullable=i == 0) for i, kind in enumerate(kinds)]
    return SourceDef("readings", Schema((Field("id", key), Field("at", Type.TIMESTAMP), *columns), "id", "at"))


def summing_model(width: int) -> bytes:
    """The sum of the columns, in order, where a missing one counts as 0.5."""
    from onnx import TensorProto, checker, helper

    names = [f"x{i}" for i in range(width)]
    nodes = [
        helper.make_node("IsNaN", ["x0"], ["gone"]),
        helper.make_node("Where", ["gone", "half", "x0"], ["known"]),
        *(helper.make_node("Add", [f"s{i - 1}" if i > 1 else "known", f"x{i}"], [f"s{i}"]) for i in range(1, width)),
        helper.make_node("Reshape", [f"s{width - 1}" if width > 1 else "known", "flat"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "m",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [
            helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]),
            helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()


class NumericWorld(World):
    """`World` with one model, ``sums``."""

    def __init__(self, folder: Path, width: int = 4, key: Type = Type.STRING) -> None:
        super().__init__(folder, windowed=False)
        self.source = readings(width, key)
        fields = self.source.schema.fields[2:]
        inputs = tuple(InputDef(each.name, each.type, col(each.name).expression) for each in fields)
        label = LabelDef("readings", "id", Expression("lit", value=True), HOUR)
        self.model = ModelDef("sums", "readings", inputs, label, "f", "", {}, ("rmse",), "regression", LoopDef())

    def sums(self, model: bytes | None = None) -> str:
        """Save the package; its digest."""
        width = len(self.model.inputs)
        onnx = model or summing_model(width)
        signature = Signature(tuple(Input(each.name, each.type) for each in self.model.inputs), "regression")
        row = (0.0,) * width
        golden = Golden((row,), (Scorer(onnx, signature).score_row(row),))
        files = {
            "model.onnx": onnx,
            "signature.json": msgspec.json.encode(signature),
            "card.json": b"{}",
            "golden.json": msgspec.json.encode(golden),
            "bom.json": b"{}",
        }
        definition = content_id(self.model)
        return save(self.objects, files, model="sums", run="r", definition=definition, groups={}, threshold=0.5)

    def publish_arms(self, arms: tuple[Arm, ...], keys: tuple[object, ...]) -> str:
        self.number += 1
        routes = {"sums": Route(self.model, arms, "s")}
        release = Release(self.number, NOW, "test", "tester", routes, {"readings": self.source}, {}, keys)  # type: ignore[arg-type]
        return self.publish(release)
