"""Tensors in messages of gRPC: raw bytes or typed contents, and the answer as the request came."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from skyloom.serving import tensors as _tensors
from skyloom.serving.tensors import Tensor
from skyloom.serving.wire import Problem

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def tensors_of(request: Any) -> list[Tensor]:
    """The inputs of a ``ModelInferRequest``. Raises `Problem` with 400 that names the tensor."""
    inputs, raws = request.inputs, request.raw_input_contents
    if not raws:
        return [_typed(each) for each in inputs]
    if any(each.HasField("contents") for each in inputs):
        raise Problem(400, "the inputs come both as raw bytes and as contents: send one of them")
    if len(raws) != len(inputs):
        raise Problem(400, f"there are {len(inputs)} inputs and raw bytes of {len(raws)}")
    return [
        _tensors.from_raw(each.name, each.datatype, tuple(each.shape), raw) for each, raw in zip(inputs, raws, strict=True)
    ]


def put(response: Any, outputs: Sequence[Tensor], raw: bool) -> None:
    """Add the outputs to a ``ModelInferResponse``, as raw bytes or as contents."""
    for tensor in outputs:
        made = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            response.raw_output_contents.append(_tensors.to_raw(tensor.values))
            continue
        values = tensor.values.tolist() if isinstance(tensor.values, np.ndarray) else list(tensor.values)
        if tensor.datatype == "BYTES":
            values = [str(value).encode() for value in values]
        getattr(made.contents, _CONTENTS[tensor.datatype]).extend(values)


def _typed(each: Any) -> Tensor:
    name, datatype, shape = each.name, each.datatype, tuple(each.shape)
    _tensors.check_shape(name, datatype, shape)
    field = _CONTENTS.get(datatype)
    if field is None:
        raise Problem(400, f"{name}: {datatype} comes as raw bytes alone")
    for found, _ in each.contents.ListFields():
        if found.name != field:
            raise Problem(400, f"{name}: {datatype} stands in {field}, not in {found.name}")
    values: list[Any] = list(getattr(each.contents, field))
    if datatype == "BYTES":
        values = [_text(name, value) for value in values]
    elif datatype in ("FP32", "FP64") and len(values) == math.prod(shape) and math.isfinite(sum(values)):
        return Tensor(name, datatype, shape, np.array(values, _tensors.DTYPES[datatype]))
    return _tensors.from_json(name, datatype, shape, values)


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"{name}: an element is no text: {error}") from error
