"""``make bench-serving``: the whole of it, as tables and as figures beside their goals."""

import signal
import sys
from collections.abc import Callable, Iterable, Sequence

from bench.figure import Figure, shown
from bench.serving import contenders, made
from bench.serving.alone import against_echo, start
from bench.serving.batch import batch
from bench.serving.beside import Compared, Missing, Ours, compare, running
from bench.serving.calls import grpc
from bench.serving.servers import pin_client
from bench.serving.tensors import binary

_HEAD = (
    f"{'peer':<12}{'with':<9}{'model':<8}{'ours 1/s':>10}{'peer 1/s':>10}{'x':>7}{'x (cpu)':>9}"
    f"{'ours p99':>10}{'peer p99':>10}{'peer MB':>9}"
)
_GOALS = {("sklearn", "linear"): 10.0, ("sklearn", "forest"): 50.0, ("onnx", "linear"): 4.0, ("onnx", "forest"): 4.0}
_AS = {"sklearn": "as people run it (scikit-learn)", "onnx": "on the same ONNX file"}
_TENTH = 0.1


def serving() -> list[Figure]:
    """Everything. What could not be measured is said where it would stand, and is no reason to stop."""
    _prepare()
    project = made.made()
    figures: list[Figure] = []
    ours = contenders.skyloom(project)
    with running("Skyloom", ours, "/predict/linear") as server:
        us = Ours(ours, server)
        figures += _tried("the bare echo", lambda: against_echo(project, us))
        figures += _tried("binary tensors", lambda: binary(project, us))
        figures += best(list(_peers(project, us)))
    figures += _tried("gRPC", lambda: _calls(project))
    figures += _tried("the start", lambda: start(project))
    figures += _tried("batch", lambda: batch(project))
    return figures


def peers() -> list[Figure]:
    """One row as JSON beside every peer, alone."""
    _prepare()
    project = made.made()
    ours = contenders.skyloom(project)
    with running("Skyloom", ours, "/predict/linear") as server:
        return best(list(_peers(project, Ours(ours, server))))


def _prepare() -> None:
    """The load's core; and who ends this process ends its servers, too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    pin_client()


def best(found: Sequence[Compared | Missing]) -> list[Figure]:
    """Beside the best peer of each kind: the one that our rate is the fewest times of."""
    figures: list[Figure] = []
    for (kind, model), goal in _GOALS.items():
        alike = [each for each in found if isinstance(each, Compared) and (each.kind, each.model) == (kind, model)]
        if not alike:
            continue
        nearest = min(alike, key=lambda each: each.rate)
        figures.append(Figure(f"one row, {model}, peers {_AS[kind]}", nearest.ours.rate, "1/s", None, "make bench-serving"))
        figures.append(Figure(f"  times the best of them, {nearest.peer}", nearest.rate, "x", goal, at_least=True))
        figures.append(Figure("  the same in processor time", nearest.work, "x"))
        if kind == "sklearn":
            quickest = max(alike, key=lambda each: each.p99)
            figures.append(Figure(f"  p99 over that of {quickest.peer}, the best", quickest.p99, "x", _TENTH))
    return figures


def _peers(project: made.Project, us: Ours) -> Iterable[Compared | Missing]:
    for model in {model for _, model in _GOALS}:
        project.onnx(model)  # peers find the files beside the project
    print(f"\none row as JSON, 16 connections, server on core 0, load on core 1; ms\n\n{_HEAD}", flush=True)
    for peer in contenders.PEERS:
        for kind in contenders.KINDS:
            for each in compare(project, us, peer, kind):
                print(_line(each), flush=True)
                yield each
    print(flush=True)


def _line(each: Compared | Missing) -> str:
    if isinstance(each, Missing):
        return f"{each.peer:<12}{each.kind:<9}not measured: {' '.join(each.why.split())[:300]}"
    return (
        f"{each.peer:<12}{each.kind:<9}{each.model:<8}{shown(each.ours.rate):>10}{shown(each.theirs.rate):>10}"
        f"{shown(each.rate):>7}{shown(each.work):>9}{each.ours.p99 * 1e3:>10.2f}{each.theirs.p99 * 1e3:>10.2f}"
        f"{each.mb:>9.0f}"
    )


def _calls(project: made.Project) -> list[Figure]:
    figures, missing = grpc(project)
    for each in missing:
        print(_line(each), flush=True)
    return figures


def _tried(what: str, measure: Callable[[], list[Figure]]) -> list[Figure]:
    """The figures of a part; a part that fails is said and leaves none."""
    try:
        return measure()
    except Exception as error:
        print(f"{what}: could not be measured: {type(error).__name__}: {str(error)[-500:]}", flush=True)
        return []
