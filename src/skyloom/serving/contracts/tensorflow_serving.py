"""TensorFlow Serving over REST: predict, classify, regress and the state of a model.

Source: github.com/tensorflow/serving, ``g3doc/api_rest.md``. Bodies are JSON whatever their type says (as curl sends them).
"""

from collections.abc import Callable
from typing import Any, cast

from skyloom.ingest.rows import RowType
from skyloom.serving.body import decode
from skyloom.serving.compression import unpack
from skyloom.serving.exchange import Exchange
from skyloom.serving.formats.asked import Asked, check_count
from skyloom.serving.formats.objects import Items, envelope_of, items_of, loosened, outputs_of, read_items
from skyloom.serving.formats.writing import SCORE, checked, receipt_header, values_of
from skyloom.serving.loaded import LoadedRoute
from skyloom.serving.predict import Prediction
from skyloom.serving.table import Endpoint
from skyloom.serving.wire import Call, Problem, Reply, reply

_LONGEST = 6 * 2**20


class TensorFlowServing:
    """Rows (``instances``) are answered with ``predictions``, columns (``inputs``) with ``outputs``; a value may be the only
    one of its list, and a text may be ``{"b64": ...}``. ``signature_name`` is ignored: a model has one signature."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def endpoints(self) -> list[Endpoint]:
        paths = ("/v1/models/{model}", "/v1/models/{model}/versions/{version}")
        verbs = {"predict": self.predict, "classify": self.classify, "regress": self.regress}
        return [
            *(Endpoint("GET", path, "predict", self.status) for path in paths),
            *(
                Endpoint("POST", f"{path}:{verb}", "predict", handle, longest=_LONGEST)
                for path in paths
                for verb, handle in verbs.items()
            ),
        ]

    async def status(self, call: Call) -> Reply:
        """TensorFlow's state of each version, and what KServe asks on the same path: ``name`` and ``ready``."""
        route = self._exchange.route(call)
        fine = {"error_code": "OK", "error_message": ""}
        versions = [{"version": str(each.arm.version), "state": "AVAILABLE", "status": fine} for each in route.arms]
        return reply({"model_version_status": versions, "name": route.model.name, "ready": True})

    async def predict(self, call: Call) -> Reply:
        asked, found = await self._predict(call, self._exchange.route(call), _asked)
        outputs = asked.outputs or SCORE
        if asked.form == "instances":
            return _told({"predictions": values_of(found, outputs)}, found)
        columns = {name: values_of(found, [name]) for name in outputs}
        return _told({"outputs": columns if len(columns) > 1 else columns[outputs[0]]}, found)

    async def classify(self, call: Call) -> Reply:
        """For each example the label ``true`` with the score, and ``false`` with what is left of 1."""
        route = self._exchange.route(call)
        if route.model.task != "binary":
            raise Problem(400, f"{route.model.name} has no classes; ask :regress or :predict")
        _, found = await self._predict(call, route, _examples)
        return _results([[["false", 1.0 - each.score], ["true", each.score]] for each in found], found)

    async def regress(self, call: Call) -> Reply:
        _, found = await self._predict(call, self._exchange.route(call), _examples)
        return _results([each.score for each in found], found)

    async def _predict(
        self, call: Call, route: LoadedRoute, read: Callable[[RowType, bytes], Asked]
    ) -> tuple[Asked, list[Prediction]]:
        encoding = call.headers.get("content-encoding", "")

        def unpacked() -> Asked:
            return read(route.rows, unpack(call.body, encoding, _LONGEST))

        with self._exchange.room(call, route):
            asked = await self._exchange.done(_LONGEST if encoding else len(call.body), unpacked)
        return asked, await self._exchange.predict(call, route, asked.rows)


def _asked(rows: RowType, body: bytes) -> Asked:
    document = _document(body)
    form = envelope_of(document, rows.schema)
    if form not in ("instances", "inputs"):
        raise Problem(400, "give rows in instances, or columns in inputs")
    items = [_plain(item) for item in items_of(document, form, rows.schema)]
    outputs = outputs_of(document.get("parameters"), "parameters")
    return Asked(read_items(rows, items, form), form, SCORE if outputs is None else checked(outputs))


def _examples(rows: RowType, body: bytes) -> Asked:
    """Each example with the context that all of them share."""
    document = _document(body)
    examples, context = document.get("examples"), document.get("context", {})
    if not isinstance(examples, list) or not isinstance(context, dict):
        raise Problem(400, "examples: expected a list of objects, and context one object")
    check_count(len(cast("Items", examples)))
    shared = cast("dict[str, Any]", context)
    whole = [
        {**shared, **cast("dict[str, Any]", each)} if isinstance(each, dict) else each for each in cast("Items", examples)
    ]
    return Asked(read_items(rows, [_plain(item) for item in whole]), "examples")


def _document(body: bytes) -> dict[str, Any]:
    document: Any = decode(body)
    if not isinstance(document, dict):
        raise Problem(400, "the body is no object")
    return cast("dict[str, Any]", document)


def _plain(item: object) -> object:
    if isinstance(item, dict):
        return {name: loosened(value) for name, value in cast("dict[str, object]", item).items()}
    if isinstance(item, list):
        return [loosened(value) for value in cast("list[object]", item)]
    return item


def _told(answer: dict[str, Any], found: list[Prediction]) -> Reply:
    return reply(answer)._replace(headers=receipt_header(found))


def _results(values: list[Any], found: list[Prediction]) -> Reply:
    """The documentation says ``result``, the server says ``results``: whoever reads either finds it."""
    return _told({"results": values, "result": values}, found)
