"""Amazon SageMaker: what it asks of a container that serves in real time, asynchronously or by batch transform.

Source: the SageMaker developer guide, "Use your own inference code". SageMaker strips all headers but a few of its own, so
that nothing that matters may hang on others.
"""

from collections.abc import Mapping
from typing import Any

from skyloom.serving.contracts.tensors_elsewhere import TensorsElsewhere
from skyloom.serving.exchange import Exchange
from skyloom.serving.formats import media as formats
from skyloom.serving.formats.media import KINDS, kind_of, media_of
from skyloom.serving.life import Life
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Reply, reply

ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_LARGEST_MB, _USUAL_MB, _AT_ONCE = 100, 6, 4

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_ALREADY_EXISTS",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


def explain(status: int, why: str) -> Reply:
    """An error with the keys of both who share ``/invocations``: ``error``, and MLflow's ``error_code`` and ``message``."""
    code = _CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
    return reply({"error": why, "error_code": code, "message": why}, status)


class SageMaker:
    """``tensors`` may come to ``/invocations`` too."""

    def __init__(self, exchange: Exchange, life: Life, tensors: TensorsElsewhere, environ: Mapping[str, str]) -> None:
        self._exchange, self._life, self._tensors = exchange, life, tensors
        self._batch = environ.get("SAGEMAKER_BATCH", "").lower() == "true"
        self._accept = environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "")
        told = environ.get("SAGEMAKER_MAX_PAYLOAD_IN_MB", "")
        self._payload_mb = min(max(int(told), 1), _LARGEST_MB) if told.isdecimal() and int(told) else _USUAL_MB

    def endpoints(self) -> list[Endpoint]:
        longest = self._payload_mb * 2**20
        return [
            *(Endpoint(method, "/ping", OPEN, self.ping, explain) for method in ("GET", "HEAD", "POST")),
            Endpoint("GET", "/execution-parameters", OPEN, self.execution_parameters, explain),
            Endpoint("POST", "/invocations", "predict", self.invocations, explain, longest),
        ]

    async def ping(self, call: Call) -> Reply:
        """200 or 503, and no body."""
        return Reply(503 if self._life.not_ready(call.loaded) else 200, b"")

    async def execution_parameters(self, call: Call) -> Reply:
        return reply(
            {
                "MaxConcurrentTransforms": max(min(_AT_ONCE, _LARGEST_MB // self._payload_mb), 1),
                "BatchStrategy": "MULTI_RECORD",
                "MaxPayloadInMB": self._payload_mb,
            }
        )

    async def invocations(self, call: Call) -> Reply:
        """Rows of any format, or tensors. Custom attributes and the inference id come back as they came."""
        if await self._tensors.sent(call):
            answer = await self._tensors.answer(call)
        else:
            answer = await self._exchange.exchange(call, _predictions, self._default(call), self._payload_mb * 2**20)
        echoed = [(name, value) for name in (ATTRIBUTES, INFERENCE_ID) if (value := call.headers.get(name, ""))]
        return answer._replace(headers=(*answer.headers, *echoed)) if echoed else answer

    def _default(self, call: Call) -> str:
        """The format of an answer that the caller says nothing about: lines for lines in batches, so that inputs can be
        joined with outputs."""
        chosen = KINDS.get(self._accept, formats.JSON) if self._accept else formats.JSON
        kind = kind_of(media_of(call.content_type)) if self._batch else formats.JSON
        return kind if kind in (formats.CSV, formats.LINES) else chosen


def _predictions(values: list[Any]) -> Any:
    return {"predictions": values}
