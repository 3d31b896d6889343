"""Large bodies are not decoded on the event loop, whatever contract they come by."""

import asyncio
import base64
import json
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from serving_world import FLIGHTS, NOW

from skyloom.ingest.rows import RowType
from skyloom.serving.contracts.aws_lambda import AwsLambda
from skyloom.serving.contracts.azure_functions import AzureFunctions
from skyloom.serving.contracts.cloudevents import BATCH, STRUCTURED, CloudEvents
from skyloom.serving.contracts.predict import Predict
from skyloom.serving.contracts.tensorflow_serving import TensorFlowServing
from skyloom.serving.contracts.tensors_elsewhere import TensorsElsewhere
from skyloom.serving.contracts.torchserve import TorchServe
from skyloom.serving.exchange import Exchange
from skyloom.serving.wire import Call

any_: Any = None
LIGHT = 16_384
ROWS = [
    {"flight_id": f"a{at}", "scheduled": NOW, "carrier": "UA", "distance": 1.0, "seats": 5, "charter": False}
    for at in range(400)
]
INSTANCES = json.dumps({"instances": ROWS}).encode()
EVENT = {"specversion": "1.0", "id": "1", "source": "/a", "type": "t"}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\n'
    + json.dumps(ROWS).encode()
    + b"\r\n--b--\r\n"
)


class Alone:
    """Asks what `Exchange` asks to predict, and predicts nothing."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.executor, self.rows = executor, 0

    def room(self, route: Any, size: int) -> AbstractContextManager[None]:
        """There is room."""
        return nullcontext()

    async def predict(self, release: Any, route: Any, rows: Sequence[Any]) -> list[Any]:
        self.rows += len(rows)
        return []

    async def aside(self, size: int, function: Any, *arguments: Any) -> Any:
        if size <= LIGHT:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self.executor, function, *arguments)


async def tensors_elsewhere(exchange: Exchange, call: Call) -> None:
    assert await TensorsElsewhere(exchange, any_).sent(call)


TENSORS = json.dumps({"inputs": [{"name": "a", "datatype": "FP32", "shape": [9_000], "data": [1.0] * 9_000}]}).encode()
CASES: dict[str, tuple[Any, bytes, str, dict[str, str]]] = {
    "tensorflow": (lambda e, c: TensorFlowServing(e).predict(c), INSTANCES, "", {}),
    "packed": (lambda e, c: TensorFlowServing(e).predict(c), zlib.compress(INSTANCES), "", {"content-encoding": "deflate"}),
    "form": (lambda e, c: TorchServe(e, any_).predictions(c), FORM, "multipart/form-data; boundary=b", {}),
    "batch": (
        lambda e, c: CloudEvents(e).take(c),
        json.dumps([{**EVENT, "id": str(at), "data": row} for at, row in enumerate(ROWS)]).encode(),
        BATCH,
        {},
    ),
    "structured": (
        lambda e, c: CloudEvents(e).take(c),
        json.dumps({**EVENT, "data_base64": base64.b64encode(INSTANCES).decode()}).encode(),
        STRUCTURED,
        {},
    ),
    "azure": (lambda e, c: AzureFunctions(e).take(c), json.dumps({"Data": {"q": json.dumps(ROWS)}}).encode(), "", {}),
    "lambda": (lambda e, c: AwsLambda(e, {}).take(c), INSTANCES, "", {}),
    "predict": (lambda e, c: Predict(e._answering, e).predict(c), INSTANCES, "application/json", {}),
    "tensors elsewhere": (tensors_elsewhere, TENSORS, "", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_large_body_is_decoded_on_a_thread(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take, body, media, headers = CASES[name]
    decoded: list[tuple[int, bool]] = []
    decode = msgspec.json.decode

    def watched(content: Any, **options: Any) -> Any:
        decoded.append((len(bytes(content)), threading.current_thread() is threading.main_thread()))
        return decode(content, **options)

    monkeypatch.setattr(msgspec.json, "decode", watched)
    with ThreadPoolExecutor(1) as executor:
        alone: Any = Alone(executor)
        exchange = Exchange(alone, executor, "late", 1 << 24)
        route: Any = SimpleNamespace(rows=RowType(FLIGHTS.schema), source=FLIGHTS, model=SimpleNamespace(name="late"))
        monkeypatch.setattr(exchange, "route", lambda call: route)
        release: Any = SimpleNamespace(routes={}, short="r", digest="r")
        call = Call({"model": "late", "function": "f"}, body, release, media, headers)
        asyncio.run(take(exchange, call))
    assert len(body) > 1_000
    assert max(size for size, _ in decoded) > LIGHT
    assert [size for size, on_the_loop in decoded if on_the_loop and size > LIGHT] == []
    assert alone.rows in (0, len(ROWS))
