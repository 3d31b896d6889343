"""CloudEvents 1.0 over HTTP: an event whose data are rows is answered with an event whose data are predictions.

Source: github.com/cloudevents/spec, the HTTP protocol binding (binary, structured and batched mode) and the JSON format;
Knative's event delivery, which takes the answer of a sink for an event of its own (``Prefer: reply``).
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from skyloom.kernel.ids import new_id
from skyloom.serving.body import decode
from skyloom.serving.exchange import Exchange
from skyloom.serving.formats.asked import Asked, check_count
from skyloom.serving.formats.writing import SCORE, checked, values_of
from skyloom.serving.loaded import LoadedRoute
from skyloom.serving.predict import Prediction
from skyloom.serving.table import Endpoint
from skyloom.serving.wire import Call, Problem, Reply

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
TYPE = "skyloom.prediction"
"""The type of the events that answer."""

MOST_EVENTS = 1_000
"""Events of one batch."""

_LONGEST = 6 * 2**20
_PRINTABLE = "".join(chr(code) for code in range(33, 127) if chr(code) not in '"%')


class Event(msgspec.Struct, frozen=True):
    """An event as JSON; its extensions are left behind."""

    specversion: str
    id: str
    source: str
    type: str
    datacontenttype: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: str | None = None


class CloudEvents:
    """An event that cannot be read is 400: who sent it must not send it again. The answer comes in the mode of the event."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("POST", "/", "predict", self.take, longest=_LONGEST),
            Endpoint("POST", "/cloudevents/{model}", "predict", self.take, longest=_LONGEST),
        ]

    async def take(self, call: Call) -> Reply:
        media = call.content_type.partition(";")[0].strip().lower()
        if media == BATCH:
            answers = await self._answers(call, await self._exchange.done(len(call.body), _of_batch, call))
            return Reply(200, msgspec.json.encode(answers), f"{BATCH}; charset=utf-8")
        if media.startswith("application/cloudevents"):
            if media != STRUCTURED:
                raise Problem(415, f"events come as {STRUCTURED} or {BATCH}, not as {media}")
            [answer] = await self._answers(call, await self._exchange.done(len(call.body), _of_body, call))
            return Reply(200, msgspec.json.encode(answer), f"{STRUCTURED}; charset=utf-8")
        [answer] = await self._answers(call, [(_of_headers(call), call)])
        data = answer.pop("data")
        headers = tuple((f"ce-{name}", quote(value, _PRINTABLE)) for name, value in answer.items() if name in _NAMED)
        return Reply(200, msgspec.json.encode(data), "application/json", headers)

    async def _answers(self, call: Call, events: Sequence[tuple[Event, Call]]) -> list[dict[str, Any]]:
        """The events that answer some, whose data are calls of their own; their rows are predicted together."""
        route = self._exchange.route(call)
        asked = [await self._read(route, event, sent) for event, sent in events]
        rows = [row for each in asked for row in each.rows]
        check_count(len(rows))
        found = iter(await self._exchange.predict(call, route, rows))
        return [
            _answer(route.model.name, event, each, list(islice(found, len(each.rows))))
            for (event, _), each in zip(events, asked, strict=True)
        ]

    async def _read(self, route: LoadedRoute, event: Event, sent: Call) -> Asked:
        """The rows of an event's data; `Problem` names the event."""
        try:
            _check(event)
            asked = await self._exchange.read(sent, route, _LONGEST)
            return asked._replace(outputs=SCORE if asked.outputs is None else checked(asked.outputs))
        except Problem as problem:
            raise Problem(problem.status, f"event {event.id}: {problem.why}") from problem


def _answer(model: str, event: Event, asked: Asked, found: list[Prediction]) -> dict[str, Any]:
    """The event that answers one: its id is the receipt's where it is one prediction."""
    return {
        "specversion": "1.0",
        "id": found[0].id if len(found) == 1 else new_id("e"),
        "source": _source(model, found),
        "type": TYPE,
        "subject": event.id,
        "datacontenttype": "application/json",
        "data": {"predictions": values_of(found, asked.outputs or SCORE)},
    }


_NAMED = ("specversion", "id", "source", "type", "subject")


def _source(model: str, found: list[Prediction]) -> str:
    versions = {each.version for each in found}
    return f"/models/{model}/versions/{versions.pop()}" if len(versions) == 1 else f"/models/{model}"


def _few(events: list[Event]) -> list[Event]:
    if len(events) > MOST_EVENTS:
        raise Problem(413, f"a batch holds at most {MOST_EVENTS:,} events, this one {len(events):,}")
    return events


def _check(event: Event) -> None:
    """Raises `Problem` with 400 for an event that lacks what every event needs."""
    if event.specversion != "1.0":
        raise Problem(400, f"specversion: {event.specversion!r} is not 1.0")
    for name in ("id", "source", "type"):
        if not getattr(event, name):
            raise Problem(400, f"{name}: an event needs one")


def _of_headers(call: Call) -> Event:
    """The event of a request in binary mode; its data are the body."""
    found: Mapping[str, str] = {name: unquote(call.headers.get(f"ce-{name}", "")) for name in _NAMED}
    if not found["specversion"]:
        raise Problem(400, f"this is no event: it has no header ce-specversion, and is not of the type {STRUCTURED}")
    return Event(found["specversion"], found["id"], found["source"], found["type"])


def _of_batch(call: Call) -> list[tuple[Event, Call]]:
    events: list[Event] = decode(call.body, list[Event])
    return [(each, _sent(call, each)) for each in _few(events)]


def _of_body(call: Call) -> list[tuple[Event, Call]]:
    event: Event = decode(call.body, Event)
    return [(event, _sent(call, event))]


def _sent(call: Call, event: Event) -> Call:
    """The data of an event as a call of its own: JSON, a text of another format, or bytes in base64."""
    kind = event.datacontenttype or "application/json"
    if event.data_base64 is not None:
        try:
            body = base64.b64decode(event.data_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Problem(400, f"data_base64: {error}") from error
    else:
        body = bytes(event.data)
        if "json" not in kind:
            body = decode(body, str).encode()
    return call._replace(body=body, content_type=kind, headers=dict[str, str]())
