"""The scoring server of MLflow: ``/ping``, ``/health``, ``/version``, ``/invocations``.

Source: MLflow's documentation of its scoring server, and what its client sends (mlflow 3.17).
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from skyloom.serving.contracts.sagemaker import explain
from skyloom.serving.exchange import Exchange
from skyloom.serving.life import Life
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Reply

_TEXT = "text/plain; charset=utf-8"


class MLflow:
    """Takes ``dataframe_split``, ``dataframe_records``, ``instances``, ``inputs``, CSV and tables; answers
    ``{"predictions": [...]}``. What it is asked in ``params`` besides ``outputs`` is ignored."""

    def __init__(self, exchange: Exchange, life: Life) -> None:
        self._exchange, self._life = exchange, life

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/ping", OPEN, self.ping, explain),
            Endpoint("GET", "/health", OPEN, self.ping, explain),
            Endpoint("GET", "/version", OPEN, self.version, explain),
            Endpoint("POST", "/invocations", "predict", self.invocations, explain, 6 * 2**20),
        ]

    async def ping(self, call: Call) -> Reply:
        return Reply(503 if self._life.not_ready(call.loaded) else 200, b"\n", _TEXT)

    async def version(self, call: Call) -> Reply:
        return Reply(200, version("skyloom").encode(), _TEXT)

    async def invocations(self, call: Call) -> Reply:
        return await self._exchange.exchange(call, _predictions, longest=6 * 2**20)


def _predictions(values: list[Any]) -> Mapping[str, Any]:
    return {"predictions": values}
