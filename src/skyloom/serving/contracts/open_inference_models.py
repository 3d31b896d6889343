"""What the Open Inference Protocol says of a model, in JSON and over gRPC alike: what it takes, what it gives."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from skyloom.serving.answers import Answers
from skyloom.serving.contracts.open_inference_inputs import DATATYPE_OF, numbers_of
from skyloom.serving.loaded import LoadedRoute
from skyloom.serving.tensors import Tensor
from skyloom.serving.wire import Problem

PLATFORM = "onnxruntime_onnx"
SERVER = "skyloom"
EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
"""Triton's names of what is spoken beside the protocol itself."""

SCORE, LABEL, RECEIPT = "score", "label", "receipt"


class Told(NamedTuple):
    """A tensor of a model, as its metadata tell: -1 in a shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)


def inputs_of(route: LoadedRoute) -> list[Told]:
    """A tensor for each column of a request."""
    return [Told(field.name, DATATYPE_OF[field.type]) for field in route.rows.schema.fields]


def outputs_of(route: LoadedRoute) -> list[Told]:
    """The score, for a condition the label, and the ids of the receipts."""
    label = [Told(LABEL, "BOOL")] if route.model.task == "binary" else []
    return [Told(SCORE, "FP64"), *label, Told(RECEIPT, "BYTES")]


def metadata_of(route: LoadedRoute) -> dict[str, Any]:
    """The metadata as JSON has it. ``properties`` tell the columns of a matrix, where the model takes one."""
    numbers = ",".join(field.name for field in numbers_of(route.rows.schema))
    return {
        "name": route.model.name,
        "versions": [str(each.arm.version) for each in route.arms],
        "platform": PLATFORM,
        "inputs": [each._asdict() for each in inputs_of(route)],
        "outputs": [each._asdict() for each in outputs_of(route)],
        **({"properties": {"matrix": numbers}} if numbers else {}),
    }


def config_of(route: LoadedRoute) -> dict[str, Any]:
    """Triton's model configuration, as far as it means something here: the whole shape is in ``dims``."""

    def tensors(told: Sequence[Told]) -> list[dict[str, Any]]:
        return [{"name": each.name, "data_type": _data_type(each.datatype), "dims": list(each.shape)} for each in told]

    return {
        "name": route.model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": 0,
        "input": tensors(inputs_of(route)),
        "output": tensors(outputs_of(route)),
    }


def outputs_named(route: LoadedRoute, wanted: Sequence[str] | None) -> list[str]:
    """The names of the outputs that are asked for (``None``: all). `Problem` with 400 for an unknown one, or one twice."""
    known = [each.name for each in outputs_of(route)]
    if wanted is None:
        return known
    for name in wanted:
        if name not in known:
            raise Problem(400, f"there is no output {name}; there are {', '.join(known)}")
    if len(set(wanted)) < len(wanted):
        raise Problem(400, "outputs: one is asked for twice")
    return list(wanted)


def output_tensors(names: Sequence[str], answers: Answers) -> list[Tensor]:
    """The outputs of those names, each of shape [n]."""
    shape = (len(answers.scores),)
    made = {SCORE: Tensor(SCORE, "FP64", shape, answers.scores)}
    if RECEIPT in names:
        made[RECEIPT] = Tensor(RECEIPT, "BYTES", shape, list(answers.receipts))
    if answers.labels is not None:
        made[LABEL] = Tensor(LABEL, "BOOL", shape, answers.labels)
    return [made[name] for name in names]


def _data_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
