"""Tensors that come to the one route which a cloud forwards, instead of to the Open Inference Protocol's own."""

from typing import Any

from skyloom.serving.body import decode
from skyloom.serving.exchange import Exchange
from skyloom.serving.wire import Call, Handler, Problem, Reply


class TensorsElsewhere:
    """``infer`` answers bodies of the Open Inference Protocol for the model in a call's parameters."""

    def __init__(self, exchange: Exchange, infer: Handler) -> None:
        self._exchange, self._infer = exchange, infer

    async def sent(self, call: Call) -> bool:
        """Whether a body holds tensors: said by its type (``json-header-size``), or JSON whose inputs have a datatype."""
        if "json-header-size" in call.content_type:
            return True
        if b'"datatype"' not in call.body or not call.body.lstrip().startswith(b"{"):
            return False
        return await self._exchange.done(len(call.body), _holds_tensors, call.body)

    async def answer(self, call: Call) -> Reply:
        """As the Open Inference Protocol answers, for the model that a call names or that answers where none is named."""
        return await self._infer(call._replace(parameters={"model": self._exchange.route(call).model.name}))


def _holds_tensors(body: bytes) -> bool:
    try:
        document: Any = decode(body)
    except Problem:
        return False  # whoever reads it says why
    inputs: Any = document.get("inputs")
    return (
        isinstance(inputs, list) and bool(inputs) and all(isinstance(each, dict) and "datatype" in each for each in inputs)
    )
