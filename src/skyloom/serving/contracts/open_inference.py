"""The Open Inference Protocol, version 2, over REST and JSON: a model takes one tensor for each column of its request.

Source: github.com/kserve/open-inference-protocol, ``inference_rest.md``. A request of n rows has inputs of shape [n] or
[n, 1]; the answer has ``score`` (FP64, [n]), for a condition ``label`` (BOOL, [n]), and ``receipt`` (BYTES, [n]).
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from skyloom.kernel.schema import Field, Type
from skyloom.serving.answering import Answering
from skyloom.serving.body import decode, read_objects
from skyloom.serving.life import Life
from skyloom.serving.loaded import LoadedRoute
from skyloom.serving.predict import Prediction
from skyloom.serving.router import route_for
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Problem, Reply, problem, reply

_DATATYPES = {Type.STRING: "BYTES", Type.FLOAT: "FP64", Type.INT: "INT64", Type.BOOL: "BOOL", Type.TIMESTAMP: "INT64"}
_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_ACCEPTED = {
    Type.STRING: frozenset({"BYTES"}),
    Type.FLOAT: _INTEGERS | {"FP16", "FP32", "FP64"},
    Type.INT: _INTEGERS,
    Type.BOOL: frozenset({"BOOL"}),
    Type.TIMESTAMP: _INTEGERS | {"BYTES"},
}


class Tensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Values with a name, a shape and a type."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class Wanted(msgspec.Struct, frozen=True):
    """An output that the caller asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """An inference request: one tensor for each column."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[Wanted] | None = None
    parameters: dict[str, Any] = {}


class OpenInference:
    """Health, metadata and inference, with and without a version in the path (which then pins that version)."""

    def __init__(self, answering: Answering, life: Life) -> None:
        self._answering, self._life = answering, life

    def endpoints(self) -> list[Endpoint]:
        model = [path for base in ("/v2/models/{model}",) for path in (base, f"{base}/versions/{{version}}")]
        return [
            Endpoint("GET", "/v2", "read", self.server),
            Endpoint("GET", "/v2/", "read", self.server),
            Endpoint("GET", "/v2/health/live", OPEN, self.live),
            Endpoint("GET", "/v2/health/ready", OPEN, self.ready),
            *(Endpoint("GET", path, "predict", self.model) for path in model),
            *(Endpoint("GET", f"{path}/ready", "predict", self.model_ready) for path in model),
            *(Endpoint("POST", f"{path}/infer", "predict", self.infer) for path in model),
        ]

    async def server(self, call: Call) -> Reply:
        return reply({"name": "skyloom", "version": _version(), "extensions": []})

    async def live(self, call: Call) -> Reply:
        return reply({"live": True})

    async def ready(self, call: Call) -> Reply:
        why = self._life.not_ready(call.loaded)
        return problem(503, why) if why else reply({"ready": True})

    async def model(self, call: Call) -> Reply:
        route = _route(call)
        outputs = [("score", "FP64"), *([("label", "BOOL")] if route.model.task == "binary" else []), ("receipt", "BYTES")]
        fields = route.rows.schema.fields
        return reply(
            {
                "name": route.model.name,
                "versions": [str(each.arm.version) for each in route.arms],
                "platform": "onnx",
                "inputs": [{"name": f.name, "datatype": _DATATYPES[f.type], "shape": [-1]} for f in fields],
                "outputs": [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in outputs],
            }
        )

    async def model_ready(self, call: Call) -> Reply:
        return reply({"name": _route(call).model.name, "ready": True})

    async def infer(self, call: Call) -> Reply:
        route = _route(call)
        request: InferRequest = decode(call.body, InferRequest)
        objects = rows_of(request.inputs, route.rows.schema.fields)
        found = await self._answering.predict(call.release, route, read_objects(route.rows, objects))
        outputs = [_output(name, found) for name in _asked(request, route)]
        versions = {str(each.receipt.version) for each in found}
        answer: dict[str, Any] = {"model_name": route.model.name, "outputs": outputs}
        if len(versions) == 1:
            answer["model_version"] = versions.pop()
        if request.id is not None:
            answer["id"] = request.id
        return reply(answer)


def rows_of(tensors: Sequence[Tensor], fields: Sequence[Field]) -> list[dict[str, Any]]:
    """The rows that tensors of columns hold. Raises `Problem` with 400 for a tensor of a shape or type that does not fit.

    >>> rows_of([Tensor("a", [2], "FP64", [1.0, 2.0])], [Field("a", Type.FLOAT)])
    [{'a': 1.0}, {'a': 2.0}]
    """
    types = {field.name: field.type for field in fields}
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        if tensor.name in columns:
            raise Problem(400, f"{tensor.name}: given twice")
        if tensor.name in types and tensor.datatype not in _ACCEPTED[types[tensor.name]]:
            raise Problem(400, f"{tensor.name}: {tensor.datatype} does not hold a {types[tensor.name]}")
        columns[tensor.name] = _flat(tensor)
    counts = {len(column) for column in columns.values()}
    if len(counts) > 1:
        raise Problem(400, f"the inputs hold different numbers of rows: {sorted(counts)}")
    if not columns:
        raise Problem(400, "inputs: there is none")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _flat(tensor: Tensor) -> list[Any]:
    """The values of a tensor of shape [n] or [n, 1], whose data may be nested or flat."""
    count = tensor.shape[0] if tensor.shape else 0
    if tensor.shape not in ([count], [count, 1]) or count < 0:
        raise Problem(400, f"{tensor.name}: the shape is {tensor.shape}, not [n] or [n, 1]")
    data = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in tensor.data]
    if len(data) != count:
        raise Problem(400, f"{tensor.name}: the shape says {count} values, there are {len(data)}")
    return data


def _route(call: Call) -> LoadedRoute:
    return route_for(call.release, call.parameters["model"], call.parameters.get("version"))


def _asked(request: InferRequest, route: LoadedRoute) -> list[str]:
    known = ["score", "label", "receipt"] if route.model.task == "binary" else ["score", "receipt"]
    if request.outputs is None:
        return known
    for each in request.outputs:
        if each.name not in known:
            raise Problem(400, f"there is no output {each.name}; there are {', '.join(known)}")
    return [each.name for each in request.outputs]


def _output(name: str, found: Sequence[Prediction]) -> Tensor:
    if name == "score":
        return Tensor(name, [len(found)], "FP64", [each.score for each in found])
    if name == "label":
        return Tensor(name, [len(found)], "BOOL", [each.label for each in found])
    return Tensor(name, [len(found)], "BYTES", [each.receipt.id for each in found])


def _version() -> str:
    from importlib.metadata import version

    return version("skyloom")
