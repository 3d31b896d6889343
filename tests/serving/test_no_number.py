"""A model that answers no finite number: told alike in every contract and format, counted, and in the receipts."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as _parquet
import pytest
from clouds import Answer, Cloud
from serving_world import NOW, Arm, ServerProcess, World, mint
from test_grpc import CODE, Client, raw, rpc, typed

from skyloom.kernel.contracts import CONTRACTS

parquet: Any = _parquet
ODD = {"inf": -1.0, "nan": -2.0}
"""What the model answers, by the distance that it is asked."""
NAMES = ("flight_id", "scheduled", "carrier", "distance", "seats", "charter")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    world = World(tmp_path_factory.mktemp("odd"), windowed=False)
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25, "odd"), 10_000, "champion"),)}, (stored,)))
    server = ServerProcess(world.folder, key, contracts=list(CONTRACTS), model="late", grpc=True)
    yield Cloud(world, server)
    server.end(9)
    server.errors.close()


def flight(name: str, distance: float) -> dict[str, Any]:
    return dict(zip(NAMES, (name, NOW, "UA", distance, 5, False), strict=True))


def arrow(rows: list[dict[str, Any]]) -> bytes:
    table, out = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def csv(rows: list[dict[str, Any]]) -> bytes:
    lines = [",".join(NAMES), *(",".join(str(row[name]).lower() for name in NAMES) for row in rows)]
    return "\n".join(lines).encode()


def tensors(rows: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = ("BYTES", "INT64", "BYTES", "FP64", "INT64", "BOOL")
    inputs = [
        {"name": name, "datatype": kind, "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name, kind in zip(NAMES, kinds, strict=True)
    ]
    return {"inputs": inputs}


STREAM, TABLE = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
WAYS: dict[str, Any] = {
    "predict": lambda cloud, rows: cloud.post("/predict/late", {"instances": rows}),
    "predict, Arrow": lambda cloud, rows: cloud.post("/predict/late", arrow(rows), content_type=STREAM, accept=STREAM),
    "predict, Parquet": lambda cloud, rows: cloud.post("/predict/late", as_parquet(rows), content_type=TABLE, accept=TABLE),
    "predict, CSV": lambda cloud, rows: cloud.post("/predict/late", csv(rows), content_type="text/csv", accept="text/csv"),
    "SageMaker, CSV": lambda cloud, rows: cloud.post("/invocations", csv(rows), content_type="text/csv", accept="text/csv"),
    "TensorFlow": lambda cloud, rows: cloud.post("/v1/models/late:predict", {"instances": rows}),
    "Open Inference": lambda cloud, rows: cloud.post("/v2/models/late/infer", tensors(rows)),
    "TorchServe": lambda cloud, rows: cloud.post("/predictions/late", {"instances": rows}),
}


@pytest.mark.parametrize("said", ODD)
@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_is_no_number_is_an_error_that_says_so(odd: Cloud, way: str, said: str) -> None:
    alone: Answer = WAYS[way](odd, [flight("alone", ODD[said])])
    assert (alone.status, f"late v1 could not answer (the model answered {said}); receipt p_" in told(alone)) == (500, True)
    among: Answer = WAYS[way](odd, [flight("a", 1.0), flight("b", ODD[said]), flight("c", 2.0)])
    assert (among.status, f"late v1 could not answer 'b' (the model answered {said}); receipt" in told(among)) == (500, True)
    many: Answer = WAYS[way](odd, [flight(f"m{row}", ODD[said] if row == 30 else 1.0) for row in range(40)])
    assert (many.status, f"late v1 could not answer 'm30' (the model answered {said}); receipt" in told(many)) == (500, True)
    assert WAYS[way](odd, [flight("a", 1.0), flight("c", 2.0)]).status == 200


def told(answer: Answer) -> str:
    """The text of an error, whatever shape it has."""
    text = answer.body.decode()
    return json.dumps(answer.json, ensure_ascii=False) if "json" in answer.headers["content-type"] else text


@pytest.mark.parametrize("said", ODD)
def test_over_grpc_it_is_an_internal_error(odd: Cloud, said: str) -> None:
    with Client(odd.server.grpc_port, odd.server.key) as client:
        request = typed(distance={"contents": {"fp32_contents": [ODD[said]]}})
        with pytest.raises(rpc.RpcError) as ended:
            client.send("ModelInfer", request)
        assert ended.value.code() is CODE.INTERNAL
        assert f"the model answered {said}" in ended.value.details()
        assert client.send("ModelInfer", raw()).outputs


def test_its_receipt_says_so_the_others_keep_their_scores_and_it_counts_as_an_error_of_the_model(
    tmp_path: Path, launch: Any
) -> None:
    world = World(tmp_path, windowed=False)
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25, "odd"), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key)
    rows = [flight("a", 1_000.0), flight("b", ODD["nan"]), flight("c", 0.0)]
    assert server.ask("POST", "/predict/late", {"instances": rows})[0] == 500
    metrics = server.ask("GET", "/metrics")[1]
    assert 'skyloom_model_errors_total{arm="champion",model="late",version="1"} 1.0' in metrics
    assert server.end() == 0
    kept = {each.key: (each.score, each.error) for each in world.receipts()}
    assert kept == {"a": (1.25, None), "b": (None, "the model answered nan"), "c": (0.25, None)}
