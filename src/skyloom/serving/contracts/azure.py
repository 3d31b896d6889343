"""Azure Machine Learning: online endpoints with a container of one's own.

Source: the documentation of Azure Machine Learning, "Deploy a custom container to an online endpoint", and the routes of its
own inference server: ``/``, ``/score``, ``/swagger.json``.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from skyloom.kernel.schema import Type
from skyloom.serving.exchange import Exchange
from skyloom.serving.life import Life
from skyloom.serving.loaded import LoadedRoute
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Reply, problem, reply

ECHOED = ("x-ms-client-request-id", "x-request-id")
_LONGEST = 6 * 2**20
_JSON_TYPES = {
    Type.STRING: {"type": "string"},
    Type.FLOAT: {"type": "number", "format": "double"},
    Type.INT: {"type": "integer", "format": "int64"},
    Type.BOOL: {"type": "boolean"},
    Type.TIMESTAMP: {"type": "string", "format": "date-time"},
}


class Azure:
    """Answers ``{"input_data": ...}`` (rows, or columns and data), ``{"data": [...]}`` and the other formats of a body
    with a list: one value for each row."""

    def __init__(self, exchange: Exchange, life: Life) -> None:
        self._exchange, self._life = exchange, life

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/", OPEN, _echoing(self.health)),
            Endpoint("POST", "/score", "predict", _echoing(self.score), longest=_LONGEST),
            Endpoint("GET", "/swagger.json", "predict", _echoing(self.swagger)),
        ]

    async def health(self, call: Call) -> Reply:
        why = self._life.not_ready(call.loaded)
        return problem(503, why) if why else reply({"ready": True})

    async def score(self, call: Call) -> Reply:
        return await self._exchange.exchange(call, lambda values: values, longest=_LONGEST)

    async def swagger(self, call: Call) -> Reply:
        return reply(swagger_of(self._exchange.route(call)))


def swagger_of(route: LoadedRoute) -> dict[str, Any]:
    """What ``/score`` takes and answers, as Swagger 2.0."""
    fields = route.rows.schema.fields
    row = {
        "type": "object",
        "properties": {field.name: _JSON_TYPES[field.type] for field in fields},
        "required": [field.name for field in fields if not field.nullable],
    }
    rows = {"type": "object", "properties": {"input_data": {"type": "array", "items": row}}, "required": ["input_data"]}
    scores = {"type": "array", "items": {"type": "number", "format": "double"}}
    operation = {
        "operationId": "score",
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "parameters": [{"name": "rows", "in": "body", "required": True, "schema": rows}],
        "responses": {"200": {"description": "one value for each row", "schema": scores}},
    }
    info = {"title": route.model.name, "version": str(route.arms[-1].arm.version)}
    return {"swagger": "2.0", "info": info, "paths": {"/score": {"post": operation}}}


def _echoing(handle: Callable[[Call], Awaitable[Reply]]) -> Callable[[Call], Awaitable[Reply]]:
    """The same, with the ids that the caller gave its request."""

    async def echoing(call: Call) -> Reply:
        answer = await handle(call)
        given = tuple((name, value) for name in ECHOED if (value := call.headers.get(name, "")))
        return answer._replace(headers=(*answer.headers, *given))

    return echoing
