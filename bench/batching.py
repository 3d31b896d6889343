"""Networks asked by many at a time, one row a request: with batches, and with a server of the same that makes none."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.figure import Figure
from bench.processes import SKYLOOM, seconds
from bench.project import scratch
from bench.serving.beside import running, target
from bench.serving.contenders import Started
from bench.serving.load import Load
from bench.serving.rounds import Target, in_turn, middle, ratio, tail, work
from bench.serving.servers import Server, free_port, pin_client

ROUNDS, NUMBERS, ROWS, BODIES = 5, 10, 1_000, 2_000
MODELS = {"small": ("a network of 3 x 1536", 32), "large": ("a network of 3 x 2048", 8)}
"""What they are, and how many ask them at a time: of the large one, no more than a server without batches lets wait."""
_HOUR, _DAY = 3_600_000, 86_400_000
_MOMENT = pa.timestamp("ms", tz="UTC")


def batching() -> list[Figure]:
    """Two servers on core 0 in turn, many connections on core 1, for each network."""
    folder, key = _trained()
    pin_client()
    with_them, without = _server(folder, key, [SKYLOOM]), _server(folder, key, ["-m", "bench.one_by_one"])
    figures: list[Figure] = []
    with (
        running("batches", with_them, "/predict/small") as first,
        running("one by one", without, "/predict/small") as second,
    ):
        for model in MODELS:
            figures += _figures(model, (first, with_them), (second, without))
    return figures


def _figures(model: str, gathered: tuple[Server, Started], single: tuple[Server, Started]) -> list[Figure]:
    def loads(connections: int) -> tuple[Sequence[Load], Sequence[Load]]:
        targets: dict[str, Target] = {
            kind: target(server, started, f"/predict/{model}", started.bodies, connections)
            for kind, (server, started) in {"with": gathered, "without": single}.items()
        }
        found = in_turn(targets, ROUNDS)
        return found["with"], found["without"]

    name, clients = MODELS[model]
    ours, alone = loads(clients)
    lone, lone_alone = loads(1)
    return [
        Figure(f"{name}, {clients} clients, batches", middle(ours).rate, "rows/s", None, "python -m bench batching"),
        Figure("  without", middle(alone).rate, "rows/s"),
        Figure("  with / without", ratio(ours, alone), "x", 1.3, at_least=True),
        Figure("  the same in processor time", work(ours, alone), "x"),
        Figure("  p99, with / without", tail(ours, alone), "x", 1.0),
        Figure("  one client, with / without", ratio(lone, lone_alone), "x", 0.95, at_least=True),
    ]


def _server(folder: Path, key: str, program: Sequence[str]) -> Started:
    port = free_port()
    words = [sys.executable, *program, "serve", "--port", str(port)]
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    path: Callable[[str], str] = lambda model: f"/predict/{model}"  # noqa: E731
    return Started(
        words, port, path, _bodies(), lambda answer: [answer["score"]], environment, folder, tuple(MODELS), 0, key
    )


def _bodies() -> list[bytes]:
    now_ms, values = int(time.time() * 1e3), np.random.default_rng(7).normal(size=(BODIES, NUMBERS)).round(3)
    rows = ({f"x{at}": value for at, value in enumerate(row)} for row in values.tolist())
    return [msgspec.json.encode({"id": f"asked-{at}", "at": now_ms, **row}) for at, row in enumerate(rows)]


def _trained() -> tuple[Path, str]:
    """The project with a version of each network, and a key of its server."""
    folder, now_ms, random = scratch() / "gathered", int(time.time() * 1e3), np.random.default_rng(3)
    shutil.copytree(Path(__file__).parent / "gathered", folder)
    (folder / "data").mkdir()
    asked, values = now_ms - 10 * _DAY + np.sort(random.integers(0, 8 * _DAY, ROWS)), random.normal(size=(ROWS, NUMBERS))
    ids = [f"row-{at}" for at in range(ROWS)]
    columns = {f"x{at}": values[:, at] for at in range(NUMBERS)}
    pq.write_table(pa.table({"id": ids, "at": pa.array(asked, _MOMENT), **columns}), folder / "data" / "rows.parquet")
    known = pa.array(asked + _HOUR, _MOMENT)
    pq.write_table(pa.table({"id": ids, "at": known, "y": values.sum(axis=1)}), folder / "data" / "outcomes.parquet")
    seconds(SKYLOOM, "apply", cwd=folder, timeout=240)
    created = [SKYLOOM, "keys", "create", "--scope", "predict", "--scope", "read", "--json"]
    key = msgspec.json.decode(subprocess.run(created, cwd=folder, capture_output=True, check=True, timeout=60).stdout)["key"]
    for words in (("ingest", "rows"), ("ingest", "outcomes"), ("train", "small"), ("train", "large")):
        seconds(SKYLOOM, *words, cwd=folder, timeout=400)
    return folder, key
