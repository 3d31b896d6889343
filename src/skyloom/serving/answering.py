"""Where predictions are made: short work on the event loop itself, long work on threads, so that others are not held up."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from skyloom.ingest.rows import Value
from skyloom.serving.answers import Answers, answers_of
from skyloom.serving.batch_queue import Plan
from skyloom.serving.batching import Batches
from skyloom.serving.body import read_objects
from skyloom.serving.bulk import BulkPredictor
from skyloom.serving.concurrency import Turns
from skyloom.serving.loaded import LoadedRelease, LoadedRoute
from skyloom.serving.predict import Prediction, Predictor
from skyloom.serving.tensors import Columns
from skyloom.serving.traces import carried

_T = TypeVar("_T")

_NO_MATTER: AbstractContextManager[None] = nullcontext()
_FEW = 16
_LIGHT = 16_384
_SHORT_S = 0.002
"""How long a model may take for a request that is answered on the event loop."""
_LONG_S = 0.02
_STRIKES = 3
"""A version that took `_LONG_S` of processor time on the event loop so often is slow after all: its golden rows did not
show it."""
_FORGIVEN = 0.25
"""What a quick answer takes off."""


class Answering:
    """Predicts for the contracts. To be used from the event loop."""

    def __init__(self, predictor: Predictor, bulk: BulkPredictor, turns: Turns, executor: Executor) -> None:
        self._predictor, self._bulk, self._turns, self._executor = predictor, bulk, turns, executor
        self._batches = Batches(predictor, turns)
        self._strikes: dict[str, float] = {}

    async def predict(
        self, release: LoadedRelease, route: LoadedRoute, rows: Sequence[tuple[Value, ...]]
    ) -> list[Prediction]:
        """As `Predictor.predict`. Raises, too, `Problem` with 503 when too many requests of the model are under way already,
        and with 504 when the deadline passed before it could begin; both for what the model promises (`Batches.predict`)."""
        if len(rows) == 1 and (answer := self.at_once(release, route, rows[0])) is not None:
            return [answer]
        if route.batching is not None:
            return await self._gathered(release, route, route.batching, rows)
        return await self._done(len(rows), route, self._predictor.predict, self._predictor.predict, release, route, rows)

    def at_once(self, release: LoadedRelease, route: LoadedRoute, row: tuple[Value, ...]) -> Prediction | None:
        """What `predict` answers to one row, where that takes no waiting and no thread: else ``None``, and `predict` is to
        be asked. Raises as `predict`."""
        took_s = route.arms[0].row_s if len(route.arms) == 1 else _took_s(1, route)
        if took_s > _SHORT_S or route.batching is not None or self._strikes:
            return None
        lane = self._turns.begin(route.model.name, took_s)
        if lane is None:
            return None
        began = time.perf_counter()
        try:
            return self._predictor.predict_one(release, route, row, began)
        finally:
            if self._turns.end(lane, began) > _LONG_S:
                self._strike(route, 1.0)

    async def answer(self, release: LoadedRelease, route: LoadedRoute, columns: Columns) -> Answers:
        """The answers to rows that come by column. Raises as `predict`, and `Problem` with 400 for a value that does not
        fit, which it names."""
        by_column = self._by_column if columns.count > _FEW else self._by_row
        if route.batching is not None:
            if columns.count <= _FEW:
                rows = read_objects(route.rows, columns.rows())
                return answers_of(await self._gathered(release, route, route.batching, rows))
            return await self._batches.promised(
                route,
                route.batching,
                columns.count,
                lambda: self._done(columns.count, route, self._by_row, by_column, release, route, columns),
            )
        return await self._done(columns.count, route, self._by_row, by_column, release, route, columns)

    def room(self, route: LoadedRoute, size: int) -> AbstractContextManager[None]:
        """A place for a request while its body of ``size`` bytes is read, if that is not light: to ask for a prediction
        right behind the block. Raises `Problem` with 503 at its begin when too many are under way."""
        return self._turns.room(route.model.name) if size > _LIGHT else _NO_MATTER

    async def aside(self, size: int, function: Callable[..., _T], *arguments: Any) -> _T:
        """What a function of a body of ``size`` bytes gives: of many on a thread, so that others are not held up."""
        if size <= _LIGHT:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    async def _gathered(
        self, release: LoadedRelease, route: LoadedRoute, plan: Plan, rows: Sequence[tuple[Value, ...]]
    ) -> list[Prediction]:
        """Few rows, in a batch with those of others; many by themselves."""
        if len(rows) > _FEW:
            predict = self._predictor.predict
            return await self._batches.promised(
                route, plan, len(rows), lambda: self._done(len(rows), route, predict, predict, release, route, rows)
            )
        here = self._is_short(_took_s(len(rows), route), route)
        return await self._batches.predict(release, route, rows, plan, self._watched if here else None)

    async def _done(
        self, count: int, route: LoadedRoute, short: Callable[..., _T], long: Callable[..., _T], *arguments: Any
    ) -> _T:
        """What ``short`` answers, on the event loop, or ``long`` on a thread."""
        took_s = _took_s(count, route)
        if count <= _FEW and self._is_short(took_s, route):
            return await self._turns.here(route.model.name, took_s, self._watched, route, short, *arguments)
        return await self._turns.aside(route.model.name, took_s, carried(long), *arguments)

    def _watched(self, route: LoadedRoute, function: Callable[..., _T], *arguments: Any) -> _T:
        """What a function answers; a version that takes long gets a strike, of which quick answers take something off."""
        suspected = bool(self._strikes) and any(each.arm.package in self._strikes for each in route.arms)
        worked = time.thread_time() if suspected else math.inf  # a call of the system: too dear for every request
        begun = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            if time.perf_counter() - begun > _LONG_S:
                if not suspected or time.thread_time() - worked > _LONG_S:  # else a busy machine kept it waiting
                    self._strike(route, 1.0)
            elif suspected:
                self._strike(route, -_FORGIVEN)

    def _strike(self, route: LoadedRoute, weight: float) -> None:
        for each in route.arms:
            strikes = self._strikes.pop(each.arm.package, 0.0) + weight
            if strikes > 0:
                self._strikes[each.arm.package] = strikes

    def _is_short(self, took_s: float, route: LoadedRoute) -> bool:
        """Whether few rows, which took so long when the model was loaded, are answered on the event loop."""
        return took_s <= _SHORT_S and not self._is_slow(route)

    def _is_slow(self, route: LoadedRoute) -> bool:
        strikes = self._strikes
        return bool(strikes) and any(strikes.get(each.arm.package, 0) >= _STRIKES for each in route.arms)

    def _by_column(self, release: LoadedRelease, route: LoadedRoute, columns: Columns) -> Answers:
        return self._bulk.predict(release, route, columns) or self._by_row(release, route, columns)

    def _by_row(self, release: LoadedRelease, route: LoadedRoute, columns: Columns) -> Answers:
        rows = read_objects(route.rows, columns.rows())
        return answers_of(self._predictor.predict(release, route, rows))


def _took_s(count: int, route: LoadedRoute) -> float:
    """How long so many rows took when the model was loaded, in seconds."""
    return max(count, 1) * max([each.row_s for each in route.arms])
