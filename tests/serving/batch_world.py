"""Batches in this process: models of known cost on a clock that only they move, a real event loop, real receipts."""

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from network import NetworkWorld
from serving_world import NOW, Arm
from test_bulk import Kept

from skyloom.kernel.clock import ManualClock
from skyloom.kernel.records.prediction import Receipt
from skyloom.kernel.records.release import Release, Route
from skyloom.kernel.schema import Type
from skyloom.package import Input, Signature
from skyloom.serving.batch_cost import Cost
from skyloom.serving.batching import Batches
from skyloom.serving.concurrency import Turns
from skyloom.serving.loaded import Handled, LoadedRelease, assemble
from skyloom.serving.metrics import Metrics
from skyloom.serving.predict import Prediction, Predictor
from skyloom.serving.wire import Problem

POISON, STRANGE = -7.5, -8.5
"""Values of x0 at which a model raises, and answers NaN."""


class Clock:
    """Seconds that pass only when somebody lets them."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Known:
    """A scorer whose cost is known: it moves the clock by it. ``runs`` are the rows of each run."""

    signature = Signature((Input("x0", Type.FLOAT), Input("x1", Type.FLOAT)), "regression")

    def __init__(self, clock: Clock, base: float, fixed_s: float, row_s: float) -> None:
        self.clock, self.base, self.fixed_s, self.row_s = clock, base, fixed_s, row_s
        self.runs: list[list[Sequence[float]]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def score_row(self, row: Sequence[float]) -> float:
        return self.score_rows([row])[0]

    def score_rows(self, rows: Sequence[Sequence[float]]) -> list[float]:
        self.runs.append(list(rows))
        self.clock.now += self.fixed_s + self.row_s * len(rows)
        self.meanwhile()
        if any(row[0] == POISON for row in rows):
            raise ValueError("no such row")
        return [math.nan if row[0] == STRANGE else self.base + 0.1 * row[0] + row[1] for row in rows]


class BatchWorld:
    """Versions 1 (champion) and 2 (canary, half of the units), both of a known cost; a promise of ``max_latency_ms``."""

    def __init__(
        self, folder: Path, *, fixed_s: float = 0.001, row_s: float = 0.0001, most: int = 64, max_latency_ms: int = 0
    ) -> None:
        self.clock, self.metrics, self.kept = Clock(), Metrics(), Kept()
        self.world = NetworkWorld(folder, max_latency_ms)
        self.cost = Cost(fixed_s, row_s, most, gathers=most > 1)
        self.scorers = [Known(self.clock, float(base), fixed_s, row_s) for base in (10, 20, 30)]
        self.turns = Turns(self.metrics, 1e6)
        self.predictor = Predictor(self.kept, None, ManualClock(NOW), self.metrics)  # type: ignore[arg-type]
        self.batches = Batches(self.predictor, self.turns, self.clock)

    def release(self, number: int = 1, versions: tuple[int, ...] = (1,)) -> LoadedRelease:
        """Serves some of the versions 1 to 3, with equal shares."""
        share = 10_000 // len(versions)
        arms = tuple(Arm(each, str(each), share, "canary" if each > versions[0] else "champion") for each in versions)
        routes = {"sums": Route(self.world.model, arms, "s")}
        made = Release(number, NOW, "test", "tester", routes, {"readings": self.world.source}, {}, ())
        return assemble(f"{number:064d}", made, self.world.online, self._package, self._handled)

    async def ask(self, release: LoadedRelease, rows: Sequence[tuple[Any, ...]], *, here: bool = True) -> list[Prediction]:
        route = release.routes["sums"]
        assert route.batching is not None
        return await self.batches.predict(release, route, rows, route.batching, _called if here else None)

    def alone(self, release: LoadedRelease, rows: Sequence[tuple[Any, ...]]) -> Any:
        """What is answered without batches; or how it fails, but for the receipt's name."""
        return outcome(lambda: self.predictor.predict(release, release.routes["sums"], rows))

    def receipts(self) -> dict[str, Receipt]:
        """What was kept since the last look, by unit, without what no two receipts share."""
        kept, self.kept.receipts = self.kept.receipts, []
        return {each.unit: msgspec.structs.replace(each, id="", latency_ms=0.0) for each in kept}

    def counted(self, meter: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(meter, labels) or 0.0

    def _package(self, digest: str) -> Any:
        return SimpleNamespace(scorer=self.scorers[int(digest) - 1], manifest=SimpleNamespace(groups={}, threshold=0.5))

    def _handled(self, digest: str) -> Handled:
        return Handled(self.cost.seconds(1), None, self.cost)


def _called(route: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def row(unit: str, first: float = 1.0, second: float = 2.0) -> tuple[Any, ...]:
    return (unit, NOW, first, second)


def outcome(function: Callable[[], list[Prediction]]) -> Any:
    """The scores, or status and reason of the problem, without the receipt's id."""
    try:
        return shown(function())
    except Problem as problem:
        return shown(problem)


def shown(answer: Any) -> Any:
    if isinstance(answer, Problem):
        return answer.status, answer.why.partition("; receipt")[0]
    if isinstance(answer, BaseException):
        raise answer
    return [(each.version, each.release, each.score) for each in answer]


async def arrive(clock: Clock, arrivals: Sequence[tuple[float, Callable[[], Any]]]) -> list[asyncio.Task[Any]]:
    """Begin each request (seconds from now, what makes its coroutine) when its time has come, and let the event loop turn;
    when nothing is left to do, time passes until the next one."""
    begun, tasks, waiting = clock.now, list[asyncio.Task[Any]](), sorted(arrivals, key=lambda each: each[0])
    while waiting or not all(task.done() for task in tasks):
        while waiting and begun + waiting[0][0] <= clock.now:
            tasks.append(asyncio.get_running_loop().create_task(waiting.pop(0)[1]()))
        for _ in range(4):
            await asyncio.sleep(0)
        if waiting and all(task.done() for task in tasks):
            clock.now = max(clock.now, begun + waiting[0][0])
    return tasks
