"""Skyloom's own contract: ``POST /predict/{model}`` with one request, with ``{"instances": [...]}``, or with any format."""

from collections.abc import Sequence
from typing import Any

import msgspec

from skyloom.ingest.rows import Value
from skyloom.serving.answering import Answering
from skyloom.serving.body import decode, read_row
from skyloom.serving.exchange import Exchange
from skyloom.serving.formats import media as formats
from skyloom.serving.formats.media import Media, wanted
from skyloom.serving.formats.pieces import STREAM
from skyloom.serving.formats.writing import OUTPUTS, SCORE, outputs_for
from skyloom.serving.loaded import LoadedRelease, LoadedRoute
from skyloom.serving.predict import Prediction
from skyloom.serving.table import Endpoint
from skyloom.serving.wire import Call, Problem, Reply, reply

_PLAIN = frozenset({"application/json", "", "application/json; charset=utf-8", "application/x-www-form-urlencoded"})
_LIGHT = 16_384
"""Bodies of up to so many bytes are looked at on the event loop itself."""
_INSTANCES = b'"instances"'
_ANY = frozenset({"", "*/*", "application/json"})


class Answer(msgspec.Struct, frozen=True):
    """One prediction: the receipt's id, who answered, the score, and for a condition the label."""

    id: str
    model: str
    version: int
    release: str
    score: float
    label: bool | msgspec.UnsetType = msgspec.UNSET


class Predict:
    """Answers one request with one object, ``{"instances": [...]}`` and tables with ``{"predictions": [...]}``, and a list,
    ``{"data": [...]}`` or ``{"features": [...]}`` with ``{"prediction": [...]}``, the scores alone."""

    def __init__(self, answering: Answering, exchange: Exchange) -> None:
        self._answering, self._exchange = answering, exchange

    def endpoints(self) -> list[Endpoint]:
        """``POST /predict`` is there for a server of one model."""
        return [
            Endpoint("POST", "/predict", "predict", self.predict),
            Endpoint("POST", "/predict/{model}", "predict", self.predict),
        ]

    async def predict(self, call: Call) -> Reply:
        route, body = self._exchange.route(call), call.body
        if not (call.content_type in _PLAIN and body.startswith(b"{") and call.headers.get("accept", "") in _ANY):
            return await self._exchanged(call, route)
        if len(body) > _LIGHT:
            answer = await self._heavy(call, route)
            if answer is not None:
                return answer
        elif _INSTANCES in body and (many := _instances(body)) is not None:
            return _answers(call.release, await self._answering.predict(call.release, route, _rows(route, many)))
        try:
            row = read_row(route.rows, body)
        except Problem:
            if _is_flask(body, route):
                return await self._exchanged(call, route)
            raise
        release = call.release
        found = self._answering.at_once(release, route, row)
        if found is None:
            found = (await self._answering.predict(release, route, [row]))[0]
        return reply(_answer(release, found))

    async def _heavy(self, call: Call, route: LoadedRoute) -> Reply | None:
        """The answer to the instances of a large body, if it holds some: read on a thread once its place is sure, and
        answered on one."""
        size = len(call.body)
        with self._answering.room(route, size):
            many = await self._answering.aside(size, _instances, call.body)
            rows = None if many is None else await self._answering.aside(size, _rows, route, many)
        if rows is None:
            return None
        found = await self._answering.predict(call.release, route, rows)
        return await self._answering.aside(size, _answers, call.release, found)

    async def _exchanged(self, call: Call, route: LoadedRoute) -> Reply:
        """Bodies and answers of other formats. Tables and lines are answered with all there is to say."""
        media = wanted(call.headers.get("accept", ""), Media(formats.JSON))
        asked = await self._exchange.read(call, route)
        if not asked.rows and asked.form == "rows":
            raise Problem(400, "there is no row")
        outputs = outputs_for(media, asked.outputs or (SCORE if media.type == formats.JSON else OUTPUTS))
        if media.parameters.get(STREAM) == "true":
            media = Media(media.type, {"header": "present", **media.parameters})
            return await self._exchange.stream(call, route, asked.rows, media, outputs)
        found = await self._exchange.predict(call, route, asked.rows)
        if media.type != formats.JSON:
            media = Media(media.type, {"header": "present", **media.parameters})
            return await self._exchange.write(call, found, media, outputs, list)
        if asked.form in ("rows", "data", "features"):
            return await self._exchange.write(call, found, media, outputs, lambda values: {"prediction": values})
        if asked.form == "row":
            return reply(_answer(call.release, found[0]))
        return reply({"predictions": [_answer(call.release, each) for each in found]})


def _rows(route: LoadedRoute, many: Sequence[msgspec.Raw]) -> list[tuple[Value, ...]]:
    return [read_row(route.rows, each, f"instances[{index}]: ") for index, each in enumerate(many)]


def _answers(release: LoadedRelease, found: Sequence[Prediction]) -> Reply:
    return reply({"predictions": [_answer(release, each) for each in found]})


def _is_flask(body: bytes, route: LoadedRoute) -> bool:
    """Whether a body that is no row has the keys of the tutorials' servers."""
    whole: Any = decode(body)
    return isinstance(whole, dict) and any(key in whole and key not in route.rows.schema for key in ("data", "features"))


def _instances(body: bytes) -> list[msgspec.Raw] | None:
    """The instances of a body that holds some; the cheap look at the bytes spares single requests a second decoding."""
    if _INSTANCES not in body:
        return None
    whole: object = decode(body)
    if not isinstance(whole, dict) or not isinstance(whole.get("instances"), list):
        return None
    if len(whole) > 1:
        raise Problem(400, "beside instances there must be nothing else")
    return decode(body, dict[str, list[msgspec.Raw]])["instances"]


def _answer(release: LoadedRelease, each: Prediction) -> Answer:
    label = msgspec.UNSET if each.label is None else each.label
    return Answer(each.id, each.model, each.version, release.short, each.score, label)
