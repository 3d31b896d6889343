"""Where predictions are made: one or a few on the event loop itself, many on a thread, so that others are not held up."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from skyloom.ingest.rows import Value
from skyloom.serving.answers import Answers, answers_of
from skyloom.serving.body import read_objects
from skyloom.serving.bulk import BulkPredictor
from skyloom.serving.loaded import LoadedRelease, LoadedRoute
from skyloom.serving.predict import Prediction, Predictor
from skyloom.serving.tensors import Columns

_T = TypeVar("_T")

_FEW = 16
_LIGHT = 16_384


class Answering:
    """Predicts for the contracts. To be used from the event loop."""

    def __init__(self, predictor: Predictor, bulk: BulkPredictor, executor: Executor) -> None:
        self._predictor, self._bulk, self._executor = predictor, bulk, executor

    async def predict(
        self, release: LoadedRelease, route: LoadedRoute, rows: Sequence[tuple[Value, ...]]
    ) -> list[Prediction]:
        """As `Predictor.predict`."""
        if len(rows) <= _FEW:
            return self._predictor.predict(release, route, rows)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._predictor.predict, release, route, rows)

    async def answer(self, release: LoadedRelease, route: LoadedRoute, columns: Columns) -> Answers:
        """The answers to rows that come by column. Raises as `predict`, and `Problem` with 400 for a value that does not
        fit, which it names."""
        if columns.count <= _FEW:
            return self._by_row(release, route, columns)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._by_column, release, route, columns)

    async def aside(self, size: int, function: Callable[..., _T], *arguments: Any) -> _T:
        """What a function of a body of ``size`` bytes gives: of many on a thread, so that others are not held up."""
        if size <= _LIGHT:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    def _by_column(self, release: LoadedRelease, route: LoadedRoute, columns: Columns) -> Answers:
        return self._bulk.predict(release, route, columns) or self._by_row(release, route, columns)

    def _by_row(self, release: LoadedRelease, route: LoadedRoute, columns: Columns) -> Answers:
        rows = read_objects(route.rows, columns.rows())
        return answers_of(self._predictor.predict(release, route, rows))
