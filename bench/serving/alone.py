"""Skyloom beside the bare server that it stands on; how soon it is ready, and what it holds."""

from statistics import median

from bench.figure import Figure
from bench.serving import contenders, made
from bench.serving.beside import Ours, running, target
from bench.serving.rounds import Target, in_turn, middle, ratio, work

_STARTS, _ROUNDS = 3, 7


def against_echo(project: made.Project, us: Ours) -> list[Figure]:
    """One row: nothing but the prediction, then with its receipt kept, then with features looked up as well. Metrics are
    always on. Each beside an echo of its own bodies."""
    cases = (
        ("unlogged", "a receipt of 10,000 kept", 0.5),
        ("linear", "receipts kept", None),
        ("looked_up", "features looked up, receipts kept", 0.35),
    )
    bare = contenders.echo()
    figures: list[Figure] = []
    with running("echo", bare, "/") as echo:
        for model, what, goal in cases:
            bodies = made.bodies(project, model)
            both: dict[str, Target] = {
                "ours": target(us.server, us.started, f"/predict/{model}", bodies),
                "echo": target(echo, bare, "/", bodies),
            }
            found = in_turn(both, _ROUNDS)
            ours, theirs = found["ours"], found["echo"]
            mine, other = middle(ours), middle(theirs)
            figures += [
                Figure(f"one row, {what}", mine.rate, "1/s", None, "make bench-serving"),
                Figure("  p99", mine.p99 * 1e3, "ms"),
                Figure("  bare Granian echo of the same bodies", other.rate, "1/s"),
                Figure("  the load generator's share of its own core, then", other.client, "", 0.9),
                Figure("  ours / echo", ratio(ours, theirs), "x", goal, at_least=True),
                Figure("  the same in processor time", work(ours, theirs), "x"),
            ]
    return figures


def start(project: made.Project) -> list[Figure]:
    """From the start of the process to the first answer, with one model, on one core; and the memory that it then has."""
    ready, held = list[float](), list[float]()
    for _ in range(_STARTS):
        started = contenders.skyloom(project, alone=True)
        with running("Skyloom", started, "/predict/linear") as server:
            ready.append(server.ready_s)
            held.append(server.mb)
    return [
        Figure("from a cold process to the first answer, one model", median(ready), "s", 1.5, "skyloom serve"),
        Figure("  its memory (PSS)", median(held), "MB", 150.0, "/proc/PID/smaps_rollup"),
    ]
