"""Binary tensors, 1,000 rows of 30 numbers, beside ONNX Runtime called on the array by a process that does nothing else."""

import subprocess
import sys
from statistics import median

import msgspec

from bench.figure import Figure
from bench.serving import made
from bench.serving.beside import SPACING, Ours
from bench.serving.http_wire import Http
from bench.serving.rounds import Target, in_turn, middle
from bench.serving.servers import ROOT

ROWS, _BODIES, _ROUNDS, _SECONDS = 1_000, 20, 5, 2.0


def binary(project: made.Project, us: Ours) -> list[Figure]:
    """A forest of 100 trees: requests a second over calls a second, in turn on the same core; first with a receipt of 10,000
    kept, then with all 1,000 of each request."""
    cases = (("wide_unlogged", "a receipt of 10,000 kept", 0.9), ("wide", "receipts kept", None))
    return [figure for model, what, goal in cases for figure in _beside_bare(project, us, model, what, goal)]


def _beside_bare(project: made.Project, us: Ours, model: str, what: str, goal: float | None) -> list[Figure]:
    requests = _requests(project, model)
    target = Target(us.server, us.started.port, lambda at: Http(requests, at * SPACING % len(requests)), 4)
    ours, calls = [], []
    for _ in range(_ROUNDS):
        ours += in_turn({"ours": target}, 1, _SECONDS)["ours"]
        calls.append(_bare(project, model))
    mine = middle(ours)
    return [
        Figure(f"binary tensors, 1,000 rows x 30, 100 trees, {what}", mine.rate, "1/s", None, "make bench-serving"),
        Figure("  p99, four connections", mine.p99 * 1e3, "ms"),
        Figure("  ONNX Runtime called on the array", median(each["rate"] for each in calls), "1/s"),
        Figure(
            "  ours / ONNX Runtime",
            median(load.rate / each["rate"] for load, each in zip(ours, calls, strict=True)),
            "x",
            goal,
            at_least=True,
        ),
        Figure(
            "  the same in processor time",
            median(each["worked"] / load.worked for load, each in zip(ours, calls, strict=True)),
            "x",
        ),
    ]


def _bare(project: made.Project, model: str) -> dict[str, float]:
    """Calls a second of ONNX Runtime on arrays of these rows, and the processor time of one in seconds."""
    words = [sys.executable, "-m", "bench.serving.bare", str(project.onnx(model)), str(_SECONDS)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout)


def _requests(project: made.Project, model: str) -> list[bytes]:
    made_of: list[bytes] = []
    for seed in range(_BODIES):
        raw = made.numbers(ROWS, made.MANY, seed).astype("<f4").tobytes()
        told = {
            "inputs": [
                {"name": "x", "shape": [ROWS, made.MANY], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
            ],
            "outputs": [{"name": "score", "parameters": {"binary_data": True}}],
        }
        head = msgspec.json.encode(told)
        lines = (
            f"POST /v2/models/{model}/infer HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {project.key}",
            "Content-Type: application/octet-stream",
            f"Inference-Header-Content-Length: {len(head)}",
            f"Content-Length: {len(head) + len(raw)}",
        )
        made_of.append("\r\n".join(lines).encode() + b"\r\n\r\n" + head + raw)
    return made_of
