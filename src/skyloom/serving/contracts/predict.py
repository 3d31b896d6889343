"""Skyloom's own contract: ``POST /predict/{model}`` with one request, or with ``{"instances": [...]}``."""

import msgspec

from skyloom.serving.answering import Answering
from skyloom.serving.body import decode, read_row
from skyloom.serving.loaded import LoadedRelease
from skyloom.serving.predict import Prediction
from skyloom.serving.router import route_for
from skyloom.serving.table import Endpoint
from skyloom.serving.wire import Call, Problem, Reply, reply


class Answer(msgspec.Struct, frozen=True):
    """One prediction: the receipt's id, who answered, the score, and for a condition the label."""

    id: str
    model: str
    version: int
    release: str
    score: float
    label: bool | msgspec.UnsetType = msgspec.UNSET


class Predict:
    """Answers one request with one object, a list of requests with ``{"predictions": [...]}``."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    def endpoints(self) -> list[Endpoint]:
        """``POST /predict`` is there for a server of one model."""
        return [
            Endpoint("POST", "/predict", "predict", self.predict),
            Endpoint("POST", "/predict/{model}", "predict", self.predict),
        ]

    async def predict(self, call: Call) -> Reply:
        release = call.release
        route = route_for(release, call.parameters.get("model"))
        many = _instances(call.body)
        if many is None:
            found = await self._answering.predict(release, route, [read_row(route.rows, call.body)])
            return reply(_answer(release, found[0]))
        rows = [read_row(route.rows, each, f"instances[{index}]: ") for index, each in enumerate(many)]
        found = await self._answering.predict(release, route, rows)
        return reply({"predictions": [_answer(release, each) for each in found]})


def _instances(body: bytes) -> list[msgspec.Raw] | None:
    """The instances of a body that holds some; the cheap look at the bytes spares single requests a second decoding."""
    if b'"instances"' not in body:
        return None
    whole: object = decode(body)
    if not isinstance(whole, dict) or not isinstance(whole.get("instances"), list):
        return None
    if len(whole) > 1:
        raise Problem(400, "beside instances there must be nothing else")
    return decode(body, dict[str, list[msgspec.Raw]])["instances"]


def _answer(release: LoadedRelease, each: Prediction) -> Answer:
    label = msgspec.UNSET if each.label is None else each.label
    return Answer(each.receipt.id, each.receipt.model, each.receipt.version, release.short, each.score, label)
