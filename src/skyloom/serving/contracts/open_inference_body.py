"""Bodies of the Open Inference Protocol over REST: JSON, and JSON with raw tensors behind it (the binary extension).

Which of the two a request is, is said by ``Inference-Header-Content-Length`` (or, where headers are stripped, by
``json-header-size`` in its media type), never by its media type alone: clients send the binary form without one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from skyloom.serving import tensors as _tensors
from skyloom.serving.body import decode
from skyloom.serving.tensors import Tensor
from skyloom.serving.wire import Headers, Problem, Reply, reply

HEADER = "inference-header-content-length"
BINARY = "application/octet-stream"
STRIPPED = "application/vnd.sagemaker-triton.binary+json;json-header-size="
"""The media type of a binary body where no header but the media type passes."""

_SIZE = "json-header-size"
_RAW = "binary_data"
_RAW_TO_JSON = 32


class _Input(msgspec.Struct, frozen=True):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class _Output(msgspec.Struct, frozen=True):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct, frozen=True):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: dict[str, Any] | None = None


class Asked(NamedTuple):
    """An inference request. ``wanted`` are the outputs that it names, ``None`` for all; ``binary`` says of an output's name
    whether it shall come as raw bytes; ``stripped`` whether the answer's header must stand in its media type."""

    inputs: list[Tensor]
    id: str | None
    wanted: tuple[str, ...] | None
    raw: dict[str, bool]
    raw_by_default: bool
    stripped: bool


def weight(body: bytes, headers: Headers) -> int:
    """How heavy a body is to read, in bytes of JSON: raw tensors weigh little."""
    light = HEADER in headers and not headers.get("content-encoding", "")
    return len(body) // _RAW_TO_JSON if light else len(body)


def read(body: bytes, headers: Headers) -> Asked:
    """The request of a body. Raises `Problem` with 400 that says what is wrong with it."""
    length, stripped = _json_length(headers)
    if length is None:
        head, behind = body, memoryview(b"")
    elif length > len(body):
        raise Problem(400, f"the JSON is said to have {length} bytes, the body has {len(body)}")
    else:
        head, behind = body[:length], memoryview(body)[length:]
    request: _Request = decode(head, _Request)
    inputs, used = _inputs(request.inputs, behind)
    if used != len(behind):
        raise Problem(400, f"{len(behind) - used} bytes stand behind the tensors")
    outputs = request.outputs or []
    return Asked(
        inputs,
        request.id,
        tuple(each.name for each in outputs) if outputs else None,
        {each.name: bool(each.parameters[_RAW]) for each in outputs if each.parameters and _RAW in each.parameters},
        bool((request.parameters or {}).get("binary_data_output", False)),
        stripped,
    )


def write(asked: Asked, model: str, version: str | None, outputs: Sequence[Tensor]) -> Reply:
    """The answer, with raw bytes where they were asked for."""
    answer: dict[str, Any] = {"model_name": model}
    if version is not None:
        answer["model_version"] = version
    if asked.id is not None:
        answer["id"] = asked.id
    raws: list[bytes] = []
    answer["outputs"] = told = []
    for tensor in outputs:
        each: dict[str, Any] = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype}
        if asked.raw.get(tensor.name, asked.raw_by_default):
            raws.append(_tensors.to_raw(tensor.values))
            each["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            each["data"] = tensor.values.tolist() if isinstance(tensor.values, np.ndarray) else list(tensor.values)
        told.append(each)
    whole = reply(answer)
    if not raws:
        return whole
    size = str(len(whole.body))
    media = f"{STRIPPED}{size}" if asked.stripped else BINARY
    return Reply(200, b"".join([whole.body, *raws]), media, ((HEADER, size),))


def _json_length(headers: Headers) -> tuple[int | None, bool]:
    """How many bytes of the body are JSON, if not all, and whether that was said by the media type."""
    said, stripped = headers.get(HEADER), False
    if said is None:
        media = str(headers.get("content-type", ""))
        parameters = (word.strip().partition("=") for word in media.split(";")[1:])
        said = next((value for name, _, value in parameters if name.strip().lower() == _SIZE), None)
        stripped = said is not None
    if said is None:
        return None, False
    text = str(said).strip().strip('"')
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Problem(400, f"the length of the JSON is no number: {text[:40]}")
    return int(text), stripped


def _inputs(inputs: Sequence[_Input], behind: memoryview) -> tuple[list[Tensor], int]:
    made: list[Tensor] = []
    at = 0
    for each in inputs:
        shape, size = tuple(each.shape), (each.parameters or {}).get("binary_data_size")
        if size is None:
            if each.data is None:
                raise Problem(400, f"{each.name}: there is neither data nor a binary_data_size")
            made.append(_tensors.from_json(each.name, each.datatype, shape, each.data))
            continue
        if each.data is not None:
            raise Problem(400, f"{each.name}: there is both data and a binary_data_size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise Problem(400, f"{each.name}: the binary_data_size is no number of bytes")
        if at + size > len(behind):
            raise Problem(400, f"{each.name}: {size} bytes are announced, {len(behind) - at} are left")
        made.append(_tensors.from_raw(each.name, each.datatype, shape, behind[at : at + size]))
        at += size
    return made, at
