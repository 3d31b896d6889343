"""Requests gathered by a real server of a real network: over HTTP and gRPC, while releases are swapped, under a promise."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from load import SOAK, Client, Load, request, tell, together
from network import NetworkWorld, request_of, some_rows
from serving_world import NOW, Arm, mint
from test_grpc import INFERENCE
from test_grpc import Client as GrpcClient

ROWS, CLIENTS = some_rows(400, seed=5, inputs=2), 16
COLUMNS = (("id", "BYTES", "bytes_contents"), ("at", "INT64", "int64_contents"))
COLUMNS = (*COLUMNS, ("x0", "FP64", "fp64_contents"), ("x1", "FP64", "fp64_contents"))


def values_of(number: int) -> list[Any]:
    return [f"r{number}", NOW, *ROWS[number % len(ROWS)]]


def predict(key: str, number: int) -> bytes:
    asked = request_of(f"r{number}", ROWS[number % len(ROWS)], NOW)
    return request("POST", "/predict/sums", key, asked)


def infer(key: str, number: int) -> bytes:
    columns = zip(COLUMNS, values_of(number), strict=True)
    tensors = [{"name": name, "datatype": kind, "shape": [1], "data": [value]} for (name, kind, _), value in columns]
    return request("POST", "/v2/models/sums/infer", key, {"id": f"r{number}", "inputs": tensors})


def model_infer(number: int) -> Any:
    asked = INFERENCE.messages["ModelInferRequest"](model_name="sums", id=f"r{number}")
    for (name, kind, field), value in zip(COLUMNS, values_of(number), strict=True):
        given = value.encode() if isinstance(value, str) else value
        asked.inputs.add(name=name, datatype=kind, shape=[1], contents={field: [given]})
    return asked


def counted(metrics: str, name: str) -> float:
    found = re.search(rf'^{name}{{model="sums"[^}}]*}} (\S+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.fixture
def world(tmp_path: Path) -> NetworkWorld:
    return NetworkWorld(tmp_path)


def test_answers_over_http_and_grpc_are_those_of_single_rows_while_releases_are_swapped(
    world: NetworkWorld, launch: Any
) -> None:
    key, stored = mint(["admin"])
    packages = [world.network(seed=seed) for seed in (1, 2)]
    alone = [[world.opened(each).scorer.score_row(row) for row in ROWS] for each in packages]
    world.publish_arms((Arm(1, packages[0], 10_000, "champion"),), (stored,))
    server = launch(world, key, grpc=True)
    wanted, load, numbers = 600 * SOAK, Load(), iter(range(10**9))
    over_grpc, swapped = list[tuple[int, str, float]](), list[tuple[Arm, ...]]()

    def ask_by_grpc() -> None:
        with GrpcClient(server.grpc_port, key) as client:
            for number in range(30):
                answer = client.send("ModelInfer", model_infer(number))
                [score] = [each.contents.fp64_contents[0] for each in answer.outputs if each.name == "score"]
                over_grpc.append((number, answer.model_version, score))

    def content(make: Any) -> bytes:
        """The next request; a third of the way half of the units go to the second version, and all once it has answered."""
        if not swapped and load.total >= wanted // 3:
            swapped.append(_both(packages))
            world.publish_arms(swapped[0], (stored,))
        elif len(swapped) == 1 and _version(load.answers[-1].body) == "2":
            swapped.append((Arm(2, packages[1], 10_000, "champion"),))
            world.publish_arms(swapped[1], (stored,))
        return make(key, next(numbers))

    def done() -> bool:
        return load.total >= wanted and {_version(each.body) for each in load.answers[-2 * CLIENTS :]} == {"2"}

    aside = threading.Thread(target=ask_by_grpc)
    aside.start()
    kinds = (predict, infer)
    drives = [load.drive(Client(server.port), lambda make=kinds[n % 2]: content(make), done) for n in range(CLIENTS)]
    together(*drives)
    aside.join()
    assert (load.failures, set(load.statuses)) == ([], {200})
    answered = [_read(each.body) for each in load.answers]
    receipts = {each.id: each for each in _ended(world, server)}
    for version, score, receipt in answered:
        number = int(receipts[receipt].unit[1:])
        assert score == alone[int(version) - 1][number % len(ROWS)]
        assert receipts[receipt].version == int(version)
    for number, version, score in over_grpc:
        assert score == alone[int(version) - 1][number]
    assert {each.arm for each in receipts.values()} == {"champion", "canary"}
    assert len(receipts) == len(answered) + len(over_grpc)


def _both(packages: list[str]) -> tuple[Arm, ...]:
    return Arm(1, packages[0], 5_000, "champion"), Arm(2, packages[1], 5_000, "canary")


def _version(body: Any) -> str:
    return _read(body)[0]


def _read(body: Any) -> tuple[str, float, str]:
    """Version, score and receipt of an answer of either kind."""
    if "score" in body:
        return str(body["version"]), body["score"], body["id"]
    outputs = {each["name"]: each["data"][0] for each in body["outputs"]}
    return body["model_version"], outputs["score"], outputs["receipt"]


def _ended(world: NetworkWorld, server: Any) -> list[Any]:
    metrics = server.ask("GET", "/metrics")[1]
    batches, rows = (counted(metrics, f"skyloom_batch_rows_{what}") for what in ("count", "sum"))
    tell(f"{rows:.0f} rows in {batches:.0f} batches")
    assert 0 < batches < rows
    assert server.end() == 0
    return world.receipts("sums")


def test_what_is_promised_is_kept_or_refused(tmp_path: Path, launch: Any) -> None:
    """A network that takes some milliseconds for a row, on threads, asked by many more than it can answer."""
    world = NetworkWorld(tmp_path, max_latency_ms=40)
    key, stored = mint(["admin"])
    world.publish_arms((Arm(1, world.network(width=1_536, depth=3), 10_000, "champion"),), (stored,))
    server = launch(world, key)
    load, numbers, wanted = Load(), iter(range(10**9)), 300 * SOAK
    drives = [
        load.drive(Client(server.port), lambda: predict(key, next(numbers)), lambda: load.statuses[200] >= wanted, 0.02)
        for _ in range(64)
    ]
    together(*drives)
    refused = [each for each in load.answers if each.status != 200]
    metrics = server.ask("GET", "/metrics")[1]
    assert server.end() == 0
    receipts = world.receipts("sums")
    tell(
        f"{load.total} requests: {load.statuses}; the slowest answer took {max(each.latency_ms for each in receipts):.1f} ms"
    )
    assert (load.failures, set(load.statuses) - {200, 503, 504}) == ([], set())
    assert all("max_latency" in each.body["error"] or "soon" in each.body["error"] for each in refused)
    assert all(int(each.headers["retry-after"]) >= 1 for each in refused if each.status == 503)
    ids = {each.body["id"] for each in load.answers if each.status == 200}
    assert max(each.latency_ms for each in receipts if each.id in ids) <= 40
    counts = sum(float(each) for each in re.findall(r"^skyloom_refused_total{.*} (\S+)$", metrics, re.MULTILINE))
    assert counts == len(refused)
