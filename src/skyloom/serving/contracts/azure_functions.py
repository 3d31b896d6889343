"""Azure Functions: a custom handler, which the host of functions asks over HTTP.

Source: the documentation of Azure Functions, "Azure Functions custom handlers": requests are ``{"Data": {...}, "Metadata":
{...}}``, posted to the name of the function; answers are ``{"Outputs": {...}, "Logs": [...], "ReturnValue": ...}``. With
``enableProxyingHttpRequest`` in ``host.json`` requests of HTTP come as they are, and other contracts answer them.
"""

from typing import Any

import msgspec

from skyloom.kernel.errors import SkyloomError
from skyloom.serving.body import decode
from skyloom.serving.exchange import Exchange
from skyloom.serving.formats import media as formats
from skyloom.serving.formats.writing import SCORE, checked, values_of
from skyloom.serving.table import Endpoint
from skyloom.serving.wire import Call, Problem, Reply, reply, status_of

OUTPUT = "res"
"""The output binding that an HTTP trigger's answer goes to."""

_LONGEST = 16 * 2**20


class _Sent(msgspec.Struct, frozen=True, rename="pascal"):
    data: dict[str, Any]
    metadata: dict[str, Any] = {}


class AzureFunctions:
    """A function named as a model asks that model; any other asks the one that answers where none is named.

    What a queue, a topic or a timer triggers is answered with ``ReturnValue``, and fails with a status of 400 or above, so
    that the host tries again. What HTTP triggers is answered with the output ``res``, whatever becomes of it.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("POST", "/{function}", "predict", self.take, longest=_LONGEST)]

    async def take(self, call: Call) -> Reply:
        sent: _Sent = await self._exchange.done(len(call.body), decode, call.body, _Sent)
        data = _only(sent.data)
        if not (isinstance(data, dict) and "Method" in data and "Body" in data):
            return _outcome(await self._predicted(call, data))
        try:
            value, status = await self._predicted(call, data["Body"]), 200
        except Problem as error:
            value, status = {"error": error.why}, error.status
        except SkyloomError as error:
            value, status = {"error": error.what}, status_of(error)
        headers = {"content-type": formats.JSON}
        return _outcome(value, {OUTPUT: {"statusCode": status, "headers": headers, "body": value}})

    async def _predicted(self, call: Call, data: Any) -> dict[str, Any]:
        body = await self._exchange.done(len(call.body), _body, data)
        sent = call._replace(parameters=self._named(call), body=body, content_type=formats.JSON, headers={})
        route = self._exchange.route(sent)
        asked = await self._exchange.read(sent, route, _LONGEST)
        found = await self._exchange.predict(sent, route, asked.rows)
        return {"predictions": values_of(found, SCORE if asked.outputs is None else checked(asked.outputs))}

    def _named(self, call: Call) -> dict[str, str]:
        function = call.parameters["function"]
        return {"model": function} if function in call.release.routes else {}


def _only(data: dict[str, Any]) -> Any:
    """What triggered the function: the one binding that there is."""
    if len(data) != 1:
        raise Problem(400, f"Data: expected the one binding that triggers, got {len(data)}")
    return next(iter(data.values()))


def _body(data: Any) -> bytes:
    """The rows: JSON, or a text of JSON, which the host makes of messages (a text in a text, sometimes)."""
    for _ in range(2):
        if isinstance(data, str) and data[:1] == '"':
            data = decode(data.encode())
    return data.encode() if isinstance(data, str) else msgspec.json.encode(data)


def _outcome(value: Any, outputs: dict[str, Any] | None = None) -> Reply:
    return reply({"Outputs": outputs or {}, "Logs": [], "ReturnValue": value})
