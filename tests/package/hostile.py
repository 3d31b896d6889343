"""Hostile model files, made from a seed: each kind in turn, with other numbers each time round.

``model.onnx`` is what its bytes say, whatever they are: a pickle that would run code, an archive with paths that climb, a
protobuf with lengths that lie, a graph that would never end. What wants to run code wants to make the file ``canary``.
"""

import gzip
import io
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

TEXT, NUMBER = "carrier", "miles"
"""The inputs that the signature of every hostile package names."""

Maker = Callable[[random.Random, Path], bytes]


class Hostile(NamedTuple):
    """A file, and what it is. ``endless`` ones end only by a limit."""

    kind: str
    model: bytes
    endless: bool = False


class _Runs:
    """Pickled, it makes the canary when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"open({str(self._canary)!r}, 'w').close()",)


def hostile_files(count: int, canary: Path, seed: int = 0) -> Iterator[Hostile]:
    """So many files; every kind comes before any comes again."""
    draw = random.Random(seed)
    for number in range(count):
        make = MAKERS[number % len(MAKERS)]
        yield Hostile(make.__name__.strip("_"), make(draw, canary), make in ENDLESS)


def good_model() -> ModelProto:
    """A model that answers: miles plus one."""
    return _model([helper.make_node("Add", [NUMBER, "one"], ["sum"])], [_floats("one", [1.0])], "sum")


def _model(nodes: list[Any], initializers: list[Any], last: str, **more: Any) -> ModelProto:
    flat = helper.make_tensor("flat", TensorProto.INT64, [1], [-1])
    graph = helper.make_graph(
        [*nodes, helper.make_node("Reshape", [last, "flat"], ["score"])],
        "g",
        [
            helper.make_tensor_value_info(TEXT, TensorProto.STRING, [None, 1]),
            helper.make_tensor_value_info(NUMBER, TensorProto.FLOAT, [None, 1]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [*initializers, flat],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def _floats(name: str, values: list[float]) -> Any:
    return numpy_helper.from_array(np.array(values, np.float32), name)


def _whole(name: str, values: list[int]) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


# Formats that run code when they are loaded, under another name


def _pickle(draw: random.Random, canary: Path) -> bytes:
    return pickle.dumps(_Runs(canary), protocol=draw.randrange(6))


def _joblib(draw: random.Random, canary: Path) -> bytes:
    import joblib

    file = io.BytesIO()
    joblib.dump({"model": _Runs(canary)}, file, compress=draw.choice([0, 3]))
    return file.getvalue()


def _torch(draw: random.Random, canary: Path) -> bytes:
    return _zip({"archive/data.pkl": pickle.dumps(_Runs(canary), 2), "archive/version": b"3\n"})


def _torch_of_old(draw: random.Random, canary: Path) -> bytes:
    return pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps(_Runs(canary), 2)


def _keras(draw: random.Random, canary: Path) -> bytes:
    code = f"lambda x: open({str(canary)!r}, 'w')"
    config = '{"class_name": "Functional", "config": {"layers": [{"class_name": "Lambda", "config": {"function": "%s"}}]}}'
    return _zip({"config.json": (config % code).encode(), "metadata.json": b"{}", "model.weights.h5": draw.randbytes(200)})


def _hdf5(draw: random.Random, canary: Path) -> bytes:
    return b"\x89HDF\r\n\x1a\n" + draw.randbytes(500)


def _numpy_objects(draw: random.Random, canary: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([_Runs(canary)], object), allow_pickle=True)
    return file.getvalue()


def _python(draw: random.Random, canary: Path) -> bytes:
    return f"#!/usr/bin/env python3\nopen({str(canary)!r}, 'w').close()\n".encode()


def _program(draw: random.Random, canary: Path) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, 62, 1) + draw.randbytes(300)


def _safetensors_with_a_huge_header(draw: random.Random, canary: Path) -> bytes:
    return struct.pack("<Q", draw.randrange(2**40, 2**63)) + b'{"a":{"dtype":"F32"}}'


def _gguf(draw: random.Random, canary: Path) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, draw.randrange(2**60), draw.randrange(2**60))


def _saved_model(draw: random.Random, canary: Path) -> bytes:
    name = str(canary).encode()
    return b"\x08\x01\x12" + bytes([len(name) % 128]) + name + draw.randbytes(60)


# Archives, with paths that climb and sizes that lie


def _zip(files: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def _zip_that_climbs(draw: random.Random, canary: Path) -> bytes:
    up = "../" * draw.randrange(1, 12)
    return _zip({f"{up}{str(canary).lstrip('/')}": b"x", "model.onnx": good_model().SerializeToString()})


def _zip_bomb(draw: random.Random, canary: Path) -> bytes:
    return _zip({"model.onnx": bytes(draw.randrange(1, 8) * 10**6)})


def _tar_with_links(draw: random.Random, canary: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=draw.choice(["w", "w:gz"])) as archive:
        link = tarfile.TarInfo("model.onnx")
        link.type, link.linkname = tarfile.SYMTYPE, str(canary)
        archive.addfile(link)
    return file.getvalue()


def _gzip_bomb(draw: random.Random, canary: Path) -> bytes:
    return gzip.compress(bytes(draw.randrange(1, 8) * 10**6))


# ONNX that names other files, other domains, other formats


def _external_data(draw: random.Random, canary: Path) -> bytes:
    model = good_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = ["/etc/passwd", "../" * 9 + "etc/passwd", str(canary), "/proc/self/environ", "*/_ORT_MEM_ADDR_/*", "a\x00b"]
    for key, value in (("location", draw.choice(places)), ("offset", str(draw.randrange(2**62))), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def _external_data_without_a_place(draw: random.Random, canary: Path) -> bytes:
    model = good_model()
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return model.SerializeToString()


def _operator_of_another_domain(draw: random.Random, canary: Path) -> bytes:
    domain = draw.choice(["com.evil", "com.microsoft", "ai.onnx.contrib", "ai.onnx.training", "\u202ex", " "])
    name = draw.choice(["PyOp", "PythonOp", "FusedConv", "Exec"])
    model = _model([helper.make_node(name, [NUMBER], ["out"], domain=domain, script=str(canary))], [], "out")
    model.opset_import.append(helper.make_opsetid(domain, 1))
    return model.SerializeToString()


def _operator_that_is_none(draw: random.Random, canary: Path) -> bytes:
    return _model([helper.make_node(draw.choice(["Exec", "", "A" * 10**5]), [NUMBER], ["x"])], [], "x").SerializeToString()


def _functions_of_its_own(draw: random.Random, canary: Path) -> bytes:
    model = good_model()
    again = helper.make_node("Again", ["x"], ["y"])
    model.functions.append(helper.make_function("", "Again", ["x"], ["y"], [again], [helper.make_opsetid("", 17)]))
    return model.SerializeToString()


def _other_format_inside(draw: random.Random, canary: Path) -> bytes:
    """A protobuf whose first bytes are those of ONNX Runtime's own format: the reader might take it for that."""
    whole = good_model().SerializeToString()
    return b"\xa2\x06\x14\x00ORTM" + draw.randbytes(15) + whole


def _runtime_format(draw: random.Random, canary: Path) -> bytes:
    return struct.pack("<I", 24) + b"ORTM" + draw.randbytes(draw.randrange(40, 4_000))


# ONNX whose bytes lie


def _mutated(draw: random.Random, canary: Path) -> bytes:
    model = bytearray(_trees())
    for _ in range(draw.choice([1, 1, 2, 12])):
        model[draw.randrange(len(model))] = draw.randrange(256)
    return bytes(model)


def _cut(draw: random.Random, canary: Path) -> bytes:
    model = _trees()
    return model[: draw.randrange(len(model))]


def _spliced(draw: random.Random, canary: Path) -> bytes:
    model, at = _trees(), draw.randrange(100)
    return model[:at] + draw.randbytes(draw.randrange(1, 60)) + model[at:] * draw.randrange(1, 4)


def _lengths_that_lie(draw: random.Random, canary: Path) -> bytes:
    return b"\x08\x08\x3a" + b"\xff" * draw.randrange(1, 12) + b"\x01" + good_model().SerializeToString()


def _deeply_nested(draw: random.Random, canary: Path) -> bytes:
    """Graphs in attributes of nodes of graphs: parsers that call themselves fall over."""
    inner = b""
    for _ in range(draw.choice([90, 300, 3_000])):
        attribute = b"\x32" + _length(inner) + inner  # AttributeProto.g
        node = b"\x22\x02If\x2a" + _length(attribute) + attribute  # NodeProto.op_type, .attribute
        inner = b"\x0a" + _length(node) + node  # GraphProto.node
    return b"\x08\x08\x3a" + _length(inner) + inner


def _length(content: bytes) -> bytes:
    left, made = len(content), b""
    while left > 127:
        made, left = made + bytes([left & 127 | 128]), left >> 7
    return made + bytes([left])


def _noise(draw: random.Random, canary: Path) -> bytes:
    return draw.randbytes(draw.choice([0, 1, 8, 1_000, 100_000]))


# Trees that point outside of themselves


def _trees(**changes: Any) -> bytes:
    told: dict[str, Any] = {
        "n_targets": 1,
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [-1.0, 2.0],
    }
    trees = helper.make_node("TreeEnsembleRegressor", [NUMBER], ["out"], domain="ai.onnx.ml", **{**told, **changes})
    return _model([trees], [], "out").SerializeToString()


def _trees_that_point_outside(draw: random.Random, canary: Path) -> bytes:
    far = draw.choice([3, 10**6, 2**31 - 1, 2**62, -1, -(2**62)])
    what = draw.choice(["nodes_truenodeids", "nodes_falsenodeids", "nodes_featureids", "nodes_treeids", "nodes_nodeids"])
    return _trees(**{what: [far, 0, 0]})


def _trees_in_a_circle(draw: random.Random, canary: Path) -> bytes:
    return _trees(nodes_truenodeids=[0, 0, 0], nodes_falsenodeids=[draw.choice([0, 2]), 0, 0])


def _trees_with_targets_outside(draw: random.Random, canary: Path) -> bytes:
    far = draw.choice([1, 2**20, 2**40, -1])
    return _trees(**draw.choice([{"target_ids": [far, far]}, {"n_targets": far}, {"target_nodeids": [far, 0]}]))


def _trees_of_unequal_lengths(draw: random.Random, canary: Path) -> bytes:
    what = draw.choice(["nodes_values", "nodes_modes", "nodes_featureids", "target_weights", "target_ids"])
    kept: dict[str, list[Any]] = {"nodes_modes": ["LEAF"], "nodes_values": [0.5], "target_weights": [1.0]}
    return _trees(**{what: kept.get(what, [0])})


# Graphs that grow, or do not end


def _gigantic_constant(draw: random.Random, canary: Path) -> bytes:
    """A shape of a few bytes, for a tensor of terabytes."""
    node = helper.make_node("ConstantOfShape", ["size"], ["all"], value=_floats("v", [1.0]))
    total = helper.make_node("ReduceSum", ["all"], ["out"], keepdims=0)
    return _model([node, total], [_whole("size", [draw.choice([10**12, 2**40, 10**18, 2**62])])], "out").SerializeToString()


def _initializer_of_a_large_shape(draw: random.Random, canary: Path) -> bytes:
    model = good_model()
    model.graph.initializer[0].dims[:] = [draw.choice([2**31, 2**40, 2**62, -1]), draw.choice([1, 2**40])]
    return model.SerializeToString()


def _doubling(draw: random.Random, canary: Path) -> bytes:
    """Each node makes its input twice as long."""
    many = draw.randrange(38, 50)
    nodes = [helper.make_node("Concat", [f"x{i}", f"x{i}"], [f"x{i + 1}"], axis=0) for i in range(many)]
    first = helper.make_node("Identity", [NUMBER], ["x0"])
    return _model([first, *nodes], [], f"x{many}").SerializeToString()


def _expanding(draw: random.Random, canary: Path) -> bytes:
    name = draw.choice(["Expand", "Tile"])
    node = helper.make_node(name, [NUMBER, "shape"], ["out"])
    return _model([node], [_whole("shape", [2**20, draw.choice([2**18, 2**24, 2**40])])], "out").SerializeToString()


def _range(draw: random.Random, canary: Path) -> bytes:
    def scalar(name: str, value: float) -> Any:
        return helper.make_tensor(name, TensorProto.FLOAT, [], [value])

    node = helper.make_node("Range", ["a", "b", "c"], ["out"])
    ends = [scalar("a", 0.0), scalar("b", draw.choice([1e30, 1e18])), scalar("c", draw.choice([1.0, 1e-9]))]
    return _model([node], ends, "out").SerializeToString()


def _endless_loop(draw: random.Random, canary: Path) -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["x", "x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1]),
        ],
    )
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [draw.randrange(2**50, 2**62)])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    return _model(
        [helper.make_node("Loop", ["trips", "yes", NUMBER], ["out"], body=body)], [trips, yes], "out"
    ).SerializeToString()


def _many_nodes(draw: random.Random, canary: Path) -> bytes:
    many = draw.randrange(20_000, 40_000)
    nodes = [helper.make_node("Neg", [f"x{i}"], [f"x{i + 1}"]) for i in range(many)]
    return _model([helper.make_node("Identity", [NUMBER], ["x0"]), *nodes], [], f"x{many}").SerializeToString()


def _graph_in_a_circle(draw: random.Random, canary: Path) -> bytes:
    nodes = [helper.make_node("Neg", ["b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    return _model(nodes, [], draw.choice(["a", "b"])).SerializeToString()


def _slices_outside(draw: random.Random, canary: Path) -> bytes:
    far = draw.choice([2**31, 2**62, -(2**62), 7])
    name = draw.choice(["Gather", "GatherElements"])
    index = helper.make_tensor("at", TensorProto.INT64, [1, 1], [far])
    return _model([helper.make_node(name, [NUMBER, "at"], ["out"])], [index], "out").SerializeToString()


MAKERS: tuple[Maker, ...] = (
    _pickle,
    _joblib,
    _torch,
    _torch_of_old,
    _keras,
    _hdf5,
    _numpy_objects,
    _python,
    _program,
    _safetensors_with_a_huge_header,
    _gguf,
    _saved_model,
    _zip_that_climbs,
    _zip_bomb,
    _tar_with_links,
    _gzip_bomb,
    _external_data,
    _external_data_without_a_place,
    _operator_of_another_domain,
    _operator_that_is_none,
    _functions_of_its_own,
    _other_format_inside,
    _runtime_format,
    _mutated,
    _cut,
    _spliced,
    _lengths_that_lie,
    _deeply_nested,
    _noise,
    _trees_that_point_outside,
    _trees_in_a_circle,
    _trees_with_targets_outside,
    _trees_of_unequal_lengths,
    _gigantic_constant,
    _initializer_of_a_large_shape,
    _doubling,
    _expanding,
    _range,
    _endless_loop,
    _many_nodes,
    _graph_in_a_circle,
    _slices_outside,
)
ENDLESS = frozenset({_endless_loop})
