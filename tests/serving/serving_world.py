"""A small world for serving: stores in a folder, tiny real ONNX models, signed releases, and a server process of it.

Run as a program it is that server: ``python serving_world.py FOLDER OPTIONS`` with the options as JSON.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from skyloom.delivery.release import POINTER, publish
from skyloom.governance.access import mint
from skyloom.kernel.clock import ManualClock
from skyloom.kernel.contracts import DEFAULT
from skyloom.kernel.errors import Transient
from skyloom.kernel.expr import Expression, col, part
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import (
    AggregateDef,
    FeatureGroupDef,
    InputDef,
    LabelDef,
    LogbookDef,
    LoopDef,
    ModelDef,
    SourceDef,
)
from skyloom.kernel.records.prediction import Receipt
from skyloom.kernel.records.release import Arm, Release, Route
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.package import Input, Signature, load, save
from skyloom.stores.keys.local import LocalSigner, LocalVerifier
from skyloom.stores.log.lmdb import LmdbLog
from skyloom.stores.objects.folder import FolderObjects
from skyloom.stores.online.lmdb import LmdbOnline

NOW = 1_364_800_000_000
HOUR = 3_600_000
PATIENCE_S = 60.0
"""For what comes at once on a calm machine."""

FLIGHTS = SourceDef(
    "flights",
    Schema(
        (
            Field("flight_id", Type.STRING),
            Field("scheduled", Type.TIMESTAMP),
            Field("carrier", Type.STRING, nullable=True),
            Field("distance", Type.FLOAT, nullable=True),
            Field("seats", Type.INT),
            Field("charter", Type.BOOL),
        ),
        "flight_id",
        "scheduled",
    ),
)
LANDINGS = SourceDef(
    "landings",
    Schema(
        (
            Field("flight_id", Type.STRING),
            Field("landed", Type.TIMESTAMP),
            Field("carrier", Type.STRING),
            Field("delay", Type.FLOAT),
        ),
        "flight_id",
        "landed",
    ),
    stream="landings",
)
GROUP = FeatureGroupDef(
    "recent", "landings", ("carrier",), (AggregateDef("landings_1h", "count", None, HOUR, HOUR // 4),), {}, 24 * HOUR
)
INPUTS = (
    InputDef("carrier", Type.STRING, col("carrier").expression),
    InputDef("distance", Type.FLOAT, col("distance").expression),
    InputDef("scheduled_hour", Type.INT, part("hour", "scheduled").expression),
    InputDef("recent_landings_1h", Type.FLOAT, group="recent", aggregate="landings_1h", entity=("carrier",)),
)
LABEL = LabelDef("landings", "flight_id", Expression("lit", value=True), HOUR)


def model_def(name: str = "late", inputs: tuple[InputDef, ...] = INPUTS, logbook: LogbookDef | None = None) -> ModelDef:
    whole = logbook or LogbookDef()
    return ModelDef(name, "flights", inputs, LABEL, "f", "", {}, ("roc_auc",), "binary", LoopDef(), logbook=whole)


def onnx_model(kind: str, base: float, inputs: tuple[InputDef, ...] = INPUTS) -> bytes:
    """``good``: base + distance / 1000 + landings / 100. ``total`` answers any number
    (``base`` for a missing one). ``raises`` and ``hangs`` do so when the distance is above 1; ``odd`` answers infinity for a
    distance of -1 and NaN below that;
    ``slow 5000`` goes 5,000 times round a loop for each row (about a microsecond each), ``lags`` 1,000 times a mile."""
    from onnx import TensorProto, checker, helper

    text = helper.make_tensor_value_info("carrier", TensorProto.STRING, [None, 1])
    numbers = [helper.make_tensor_value_info(each.name, TensorProto.FLOAT, [None, 1]) for each in inputs[1:]]
    constants = [
        helper.make_tensor("base", TensorProto.FLOAT, [1], [base]),
        helper.make_tensor("per_mile", TensorProto.FLOAT, [1], [0.001]),
        helper.make_tensor("per_landing", TensorProto.FLOAT, [1], [0.01]),
        helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("two", TensorProto.FLOAT, [2], [0.0, 0.0]),
        helper.make_tensor("large", TensorProto.INT64, [1], [1_000 if kind == "lags" else 10**9]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
    ]
    nodes = [
        helper.make_node("Mul", ["distance", "per_mile"], ["far"]),
        *(
            [
                helper.make_node("Mul", ["recent_landings_1h", "per_landing"], ["busy"]),
                helper.make_node("Add", ["far", "busy"], ["sum"]),
            ]
            if inputs == INPUTS
            else [helper.make_node("Identity", ["far"], ["sum"])]
        ),
        helper.make_node("Add", ["sum", "base"], ["all"]),
        helper.make_node("Reshape", ["all", "flat"], ["plain"]),
        helper.make_node("Reshape", ["distance", "flat"], ["flat_distance"]),
        helper.make_node("Cast", ["flat_distance"], ["whole"], to=TensorProto.INT64),
    ]
    if kind == "total":
        constants += [
            helper.make_tensor("least", TensorProto.FLOAT, [], [-1e6]),
            helper.make_tensor("most", TensorProto.FLOAT, [], [1e6]),
        ]
        nodes += [
            helper.make_node("IsNaN", ["plain"], ["unknown"]),
            helper.make_node("Where", ["unknown", "base", "plain"], ["known"]),
            helper.make_node("Clip", ["known", "least", "most"], ["score"]),
        ]
    elif kind == "good":
        nodes.append(helper.make_node("Identity", ["plain"], ["score"]))
    elif kind == "odd":
        constants += [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])]
        nodes += [
            helper.make_node("Add", ["flat_distance", "one"], ["shifted"]),
            helper.make_node("Log", ["shifted"], ["log"]),
            helper.make_node("Neg", ["log"], ["grown"]),
            helper.make_node("Max", ["plain", "grown"], ["score"]),
        ]
    elif kind == "raises":
        nodes.append(helper.make_node("Gather", ["two", "whole"], ["picked"]))
        nodes.append(helper.make_node("Add", ["plain", "picked"], ["score"]))
    else:
        constants.append(helper.make_tensor("rounds", TensorProto.INT64, [1], [int(kind.partition(" ")[2] or 0)]))
        how = ("Mul", ["whole", "large"]) if kind in ("hangs", "lags") else ("Identity", ["rounds"])
        nodes.append(helper.make_node(*how, ["turns"]))
        nodes.append(helper.make_node("Reshape", ["turns", "one"], ["trips"]))
        constants.append(helper.make_tensor("one", TensorProto.INT64, [1], [1]))
        body = helper.make_graph(
            [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
            "body",
            [
                helper.make_tensor_value_info("i", TensorProto.INT64, []),
                helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [None]),
            ],
            [
                helper.make_tensor_value_info("on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("y", TensorProto.FLOAT, [None]),
            ],
        )
        nodes.append(helper.make_node("Loop", ["trips", "yes", "plain"], ["score"], body=body))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "m",
        [text, *numbers],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [constant for constant in constants if constant.name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()


class World:
    """The stores of a folder, and what can be done with them."""

    def __init__(self, folder: Path, *, windowed: bool = True) -> None:
        self.folder = folder
        self.inputs = INPUTS if windowed else INPUTS[:-1]
        self.objects = FolderObjects(folder / "objects")
        self.signer = LocalSigner(folder / "keys" / "release.key")
        self.verifier = LocalVerifier(folder / "keys")
        self.log = LmdbLog(folder / "log", map_bytes=1 << 28)
        self.online = LmdbOnline(folder / "online", map_bytes=1 << 28)
        self.number = 0
        self.logbook = LogbookDef()

    def package(self, base: float, kind: str = "good", model: str = "late", golden_off: float = 0.0) -> str:
        """Save a package; ``golden_off`` makes its golden rows wrong."""
        definition = model_def(model, self.inputs)
        signature = Signature(tuple(Input(each.name, each.type) for each in self.inputs), definition.task)
        files = {
            "model.onnx": onnx_model(kind, base, self.inputs),
            "signature.json": msgspec.json.encode(signature),
            "card.json": b"{}",
            "golden.json": msgspec.json.encode(
                {"rows": [("UA", 0.0, 5, 0.0)[: len(self.inputs)]], "scores": [float(np.float32(base)) + golden_off]}
            ),
            "bom.json": b"{}",
        }
        return save(
            self.objects,
            files,
            model=model,
            run="r",
            definition=content_id(definition),
            groups={"recent": content_id(GROUP)} if self.inputs == INPUTS else {},
            threshold=0.5,
        )

    def release(self, routes: dict[str, tuple[Arm, ...]], keys: tuple[Any, ...] = (), salt: str = "s") -> Release:
        self.number += 1
        made = {name: Route(model_def(name, self.inputs, self.logbook), arms, salt) for name, arms in routes.items()}
        sources = {"flights": FLIGHTS, "landings": LANDINGS}
        return Release(self.number, NOW, "test", "tester", made, sources, {"recent": GROUP}, keys)

    def publish(self, release: Release) -> str:
        before = self.objects.pointer(POINTER)
        return publish(self.objects, self.signer, release, before)

    def receipts(self, model: str = "late") -> list[Receipt]:
        topic, offset, done = f"predictions/{model}", 0, []
        while batches := self.log.read(topic, offset):
            for batch in batches:
                done += msgspec.msgpack.decode(batch.payload, type=list[Receipt])
            offset = batches[-1].end
        return done


class Reached:
    """A server, as its clients see it."""

    def __init__(self, port: int, key: str = "") -> None:
        self.port, self.key = port, key

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None, key: str | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            return ask(connection, method, path, body, {**self._auth(key), **(headers or {})})
        finally:
            connection.close()

    def whole(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (their names in small letters) and body of an answer, as they came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {**self._auth(None), **headers})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def _auth(self, key: str | None) -> dict[str, str]:
        used = self.key if key is None else key
        return {"Authorization": f"Bearer {used}"} if used else {}


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: object, headers: dict[str, str]
) -> tuple[int, Any]:
    payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, payload, headers)
    answer = connection.getresponse()
    content = answer.read()
    kind = answer.headers.get("content-type", "")
    return answer.status, json.loads(content) if "json" in kind else content.decode()


class ServerProcess(Reached):
    """A server in a process of its own."""

    def __init__(
        self, folder: Path, key: str, *, ready: bool = True, inherit: socket.socket | None = None, **options: Any
    ) -> None:
        passed = (inherit.fileno(),) if inherit else ()
        if inherit:
            options["descriptor"] = inherit.fileno()
        self.errors = (folder / f"stderr-{time.monotonic_ns()}").open("w+")
        command = [sys.executable, "-W", "error", __file__, str(folder), json.dumps(options)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            stdin=subprocess.DEVNULL,
            text=True,
            pass_fds=passed,
            env={**os.environ, "SKYLOOM_PARENT_PID": str(os.getpid())},
        )
        super().__init__(int(self._line()), key)
        self.grpc_port = int(self._line()) if options.get("grpc") else 0
        if ready:
            self.wait_ready()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            self.process.wait(PATIENCE_S)
            raise AssertionError(f"the server ended: {self.said()}")
        return line

    def wait_ready(self) -> None:
        assert self._line() == "ready"

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def end(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def until(true: Any, within_s: float = PATIENCE_S) -> Any:
    """Ask again until the answer is true; the answer."""
    deadline = time.monotonic() + within_s
    while not (answer := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)
    return answer


class BrokenLog:
    """A log that cannot be written while a file is there."""

    def __init__(self, log: LmdbLog, switch: Path) -> None:
        self._log, self._switch = log, switch

    def append(self, topic: str, batches: Any, partition: int = 0) -> list[int]:
        if self._switch.exists():
            raise Transient("the disk is full")
        return self._log.append(topic, batches, partition)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Down:
    """A port that nothing can be asked while a file is there."""

    def __init__(self, port: Any, switch: Path) -> None:
        self._port, self._switch = port, switch

    def __getattr__(self, name: str) -> Any:
        if self._switch.exists():
            raise Transient(f"{self._switch.name}: nobody answers")
        return getattr(self._port, name)


def tell(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    from skyloom.engines.local.child import notify_ready, tie_to_parent
    from skyloom.serving.aws_lambda.function import serve_function
    from skyloom.serving.certificates import CertificateFiles
    from skyloom.serving.services import Limits, Listen, Services, Watching
    from skyloom.serving.worker import serve

    tie_to_parent()
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    world = World(folder)
    listen = Listen(descriptor=options.get("descriptor"))
    services = Services(
        objects=Down(world.objects, folder / "objects-down"),  # type: ignore[arg-type]
        verifier=world.verifier,
        log=BrokenLog(world.log, folder / "disk-full"),  # type: ignore[arg-type]
        online=in_redis(options["redis"]) if "redis" in options else Down(world.online, folder / "online-down"),  # type: ignore[arg-type]
        clock=ManualClock(NOW),
        listen=listen,
        limits=msgspec.convert(options.get("limits", {}), Limits),
        logbook=folder / "logbook",
        served=folder / "served",
        on_listen=lambda port: tell(str(port)),
        grpc=Listen() if options.get("grpc") else None,
        on_grpc=lambda port: tell(str(port)),
        on_ready=lambda: (tell("ready"), notify_ready())[0],
        contracts=options.get("contracts", DEFAULT),
        model=options.get("model"),
        trust_platform=options.get("trust_platform", False),
        environ=options.get("environ", {}),
        tls=CertificateFiles(**{name: Path(path) for name, path in options["tls"].items()}) if "tls" in options else None,
        watching=msgspec.convert(options.get("watching", {}), Watching),
    )
    if "crashes" in options:
        crash_at(options["crashes"])
    if options.get("function"):
        serve_function(services)
    serve(services)


def in_redis(url: str) -> Any:
    from skyloom.stores.online.prompt import PromptOnline
    from skyloom.stores.online.redis import RedisOnline

    return PromptOnline(RedisOnline(url, prompt=True))


def crash_at(distances: dict[str, int]) -> None:
    """Let requests of some distances end this process by a signal, while the model is being asked."""
    from skyloom.package.scorer import Scorer

    asked = Scorer.score_row

    def score_row(self: Scorer, values: Any) -> float:
        number = distances.get(str(int(values[1] or 0)))
        if number is not None:
            signal.pthread_kill(threading.get_ident(), number)
        return asked(self, values)

    Scorer.score_row = score_row


__all__ = ["GROUP", "LANDINGS", "NOW", "Reached", "ServerProcess", "World", "load", "mint", "until"]

if __name__ == "__main__":
    main()
