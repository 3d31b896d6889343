"""TorchServe's predictions: ``POST /predictions/{model}``, the body raw or in a form, the answer the handler's own.

Source: github.com/pytorch/serve, ``docs/inference_api.md``.
"""

from typing import Any

from skyloom.serving.exchange import Exchange
from skyloom.serving.life import Life
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Problem, Reply, reply

_LONGEST = 6 * 2**20
_TYPES = {
    400: "BadRequestException",
    401: "InvalidKeyException",
    403: "InvalidKeyException",
    404: "ModelNotFoundException",
    405: "MethodNotAllowedException",
    503: "ServiceUnavailableException",
}


def explain(status: int, why: str) -> Reply:
    """An error as TorchServe's clients know it, and as all others do."""
    kind = _TYPES.get(status, "BadRequestException" if status < 500 else "InternalServerException")
    return reply({"code": status, "type": kind, "message": why, "error": why}, status)


class TorchServe:
    """One object is answered with one value, many rows with a list."""

    def __init__(self, exchange: Exchange, life: Life) -> None:
        self._exchange, self._life = exchange, life

    def endpoints(self) -> list[Endpoint]:
        paths = ("/predictions/{model}", "/predictions/{model}/{version}")
        return [
            Endpoint("GET", "/ping", OPEN, self.ping, explain),
            *(Endpoint("POST", path, "predict", self.predictions, explain, _LONGEST) for path in paths),
        ]

    async def ping(self, call: Call) -> Reply:
        unhealthy = bool(self._life.not_ready(call.loaded))
        return reply({"status": "Unhealthy" if unhealthy else "Healthy"}, 503 if unhealthy else 200)

    async def predictions(self, call: Call) -> Reply:
        sent = call
        if call.content_type.lower().startswith("multipart/form-data"):
            sent = await self._exchange.done(len(call.body), _unformed, call)
        alone = sent.body.lstrip().startswith(b"{")
        return await self._exchange.exchange(sent, lambda values: _own(values, alone), longest=_LONGEST)


def _own(values: list[Any], alone: bool) -> Any:
    return values[0] if alone and len(values) == 1 else values


def _unformed(call: Call) -> Call:
    """The same call with the part ``data`` (or ``body``) of its form as its body."""
    from email.parser import BytesParser  # only for forms

    head = f"Content-Type: {call.content_type}\r\n\r\n".encode("latin-1", "replace")
    form = BytesParser().parsebytes(head + call.body)
    parts: Any = form.get_payload() if form.is_multipart() else []
    for part in parts:
        if part.get_param("name", header="content-disposition") in ("data", "body"):
            content: Any = part.get_payload(decode=True)
            told = part.get_content_type() if part.get("content-type") else "application/json"
            kind = "application/json" if told == "application/octet-stream" else told
            return call._replace(body=content or b"", content_type=kind)
    raise Problem(400, "the form has no part named data")
