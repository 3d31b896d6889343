"""gRPC: one row by the Open Inference Protocol, beside MLServer and KServe."""

import struct
from collections.abc import Sequence
from pathlib import Path

from bench.figure import Figure
from bench.project import scratch
from bench.serving import contenders, made
from bench.serving.beside import SPACING, Missing, running
from bench.serving.contenders import Started
from bench.serving.grpc_wire import Grpc
from bench.serving.load import ask
from bench.serving.rounds import Target, in_turn, middle, ratio, work
from bench.serving.servers import Server

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_GOAL = 2.0


def grpc(project: made.Project) -> tuple[list[Figure], list[Missing]]:
    """The linear model, with scikit-learn and with ONNX behind the peers."""
    ours = contenders.skyloom(project, grpc=True)
    figures: list[Figure] = []
    missing: list[Missing] = []
    with running("Skyloom gRPC", ours, "/predict/linear") as server:
        mine = _target(server, ours, project.key)
        ask(ours.grpc_port, mine.wire(0))
        for peer in ("MLServer", "KServe"):
            for kind in contenders.KINDS:
                folder = Path(scratch()) / f"{peer}-{kind}-grpc"
                folder.mkdir()
                try:
                    figures += _beside(project, mine, peer, kind, folder)
                except (RuntimeError, OSError, ValueError) as error:
                    missing.append(Missing(f"{peer}, gRPC", kind, f"{type(error).__name__}: {str(error)[-500:]}"))
    return figures, missing


def _beside(project: made.Project, mine: Target, peer: str, kind: str, folder: Path) -> list[Figure]:
    (started,) = contenders.PEERS[peer](project, kind, folder)
    with running(peer, started, started.path("linear")) as server:
        theirs = _target(server, started, "")
        ask(started.grpc_port, theirs.wire(0))
        found = in_turn({"ours": mine, "theirs": theirs})
    ours, others = found["ours"], found["theirs"]
    left, right = middle(ours), middle(others)
    return [
        Figure(f"gRPC, one row, beside {peer} with {kind}", left.rate, "1/s", None, "make bench-serving"),
        Figure(f"  {peer}", right.rate, "1/s"),
        Figure("  p99, ours", left.p99 * 1e3, "ms"),
        Figure(f"  p99, {peer}", right.p99 * 1e3, "ms"),
        Figure("  times as many requests", ratio(ours, others), "x", _GOAL, at_least=True),
        Figure("  its processor time / ours", work(ours, others), "x"),
    ]


def _target(server: Server, started: Started, key: str) -> Target:
    port = started.grpc_port
    messages = [message("linear", row) for row in made.numbers(200, made.NUMBERS).tolist()]
    metadata = {"authorization": f"Bearer {key}"} if key else {}
    return Target(server, port, lambda at: Grpc(port, _METHOD, messages, metadata, at * SPACING % len(messages)))


def message(model: str, row: Sequence[float]) -> bytes:
    """A ModelInferRequest of one FP32 tensor [1, n]: numbers of fields as in the protocol's ``grpc_predict_v2.proto``."""
    shape = bytes((1, len(row)))
    contents = _field(6, struct.pack(f"<{len(row)}f", *row))
    tensor = _field(1, b"x") + _field(2, b"FP32") + _field(3, shape) + _field(5, contents)
    return _field(1, model.encode()) + _field(5, tensor)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of less than 128 bytes."""
    assert len(content) < 128
    return bytes((number << 3 | 2, len(content))) + content
