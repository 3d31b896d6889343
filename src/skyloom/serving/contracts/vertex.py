"""Google Vertex AI: a health route and a predict route, named by the environment.

Source: the documentation of Vertex AI, "Custom container requirements for inference".
"""

from collections.abc import Mapping
from typing import Any

from skyloom.serving.contracts.tensors_elsewhere import TensorsElsewhere
from skyloom.serving.exchange import Exchange
from skyloom.serving.life import Life
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Reply, problem, reply

HEALTH, PREDICT = "AIP_HEALTH_ROUTE", "AIP_PREDICT_ROUTE"
_LONGEST = 6 * 2**20


def routes_of(environ: Mapping[str, str]) -> tuple[str, str]:
    """The paths of health and of predictions: what the environment says, else where Vertex looks by default.

    >>> routes_of({"AIP_ENDPOINT_ID": "1", "AIP_DEPLOYED_MODEL_ID": "2"})
    ('/v1/endpoints/1/deployedModels/2', '/v1/endpoints/1/deployedModels/2:predict')
    """
    endpoint, deployed = environ.get("AIP_ENDPOINT_ID") or "{endpoint}", environ.get("AIP_DEPLOYED_MODEL_ID") or "{deployed}"
    usual = f"/v1/endpoints/{endpoint}/deployedModels/{deployed}"
    return environ.get(HEALTH) or usual, environ.get(PREDICT) or f"{usual}:predict"


class Vertex:
    """Answers ``{"instances": [...], "parameters": {...}}`` with ``{"predictions": [...]}``, and raw predictions (a body of
    any format) in the format that the caller accepts; ``tensors`` as the Open Inference Protocol does."""

    def __init__(self, exchange: Exchange, life: Life, tensors: TensorsElsewhere, environ: Mapping[str, str]) -> None:
        self._exchange, self._life, self._tensors = exchange, life, tensors
        self._health, self._predict = routes_of(environ)

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", self._health, OPEN, self.health),
            Endpoint("POST", self._predict, "predict", self.predict, longest=_LONGEST),
        ]

    async def health(self, call: Call) -> Reply:
        why = self._life.not_ready(call.loaded)
        return problem(503, why) if why else reply({"ready": True})

    async def predict(self, call: Call) -> Reply:
        asked = call._replace(parameters={})  # the words of the path are ids of Vertex's, and name no model
        if await self._tensors.sent(asked):
            return await self._tensors.answer(asked)
        return await self._exchange.exchange(asked, _predictions, longest=_LONGEST)


def _predictions(values: list[Any]) -> dict[str, Any]:
    return {"predictions": values}
