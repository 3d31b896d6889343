"""Requests of different callers answered together, where that pays, and within the time that a model promises.

On the event loop those are gathered whose requests came in one round of it; on threads, those that came while the threads
were busy. A request that finds the model free waits for nobody. Each is answered by its own release: what shares a run of
the model is the rows of one version.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from typing import Any, TypeVar

from skyloom.ingest.rows import Value
from skyloom.serving.batch_queue import NEVER, Plan, Queue
from skyloom.serving.concurrency import ROUND_S, Lane, Turns, pass_on, take_slot
from skyloom.serving.deadlines import expired, require_time, shorten, time_left_s
from skyloom.serving.loaded import LoadedRelease, LoadedRoute
from skyloom.serving.metrics import Metrics
from skyloom.serving.predict import Prediction, Predictor, Wanted
from skyloom.serving.traces import UNDER_WAY
from skyloom.serving.wire import Problem

_T = TypeVar("_T")

_COMPANY, _SHARE = 1.25, 0.1
"""Requests are gathered on the event loop when so many come in a round, on average; how much the last one weighs in that."""

Watched = Callable[..., Any]
"""``watched(route, function, *arguments)`` calls a function on the event loop, and notes when that takes long."""


class Batches:
    """Answers requests together. To be used from the event loop. ``clock`` tells seconds, as `time.perf_counter` does."""

    def __init__(self, predictor: Predictor, turns: Turns, clock: Callable[[], float] = time.perf_counter) -> None:
        self._predictor, self._turns, self._metrics, self._clock = predictor, turns, turns.metrics, clock
        self._lines: dict[tuple[str, bool], _Line] = {}
        self._driving: set[asyncio.Task[None]] = set()

    async def predict(
        self,
        release: LoadedRelease,
        route: LoadedRoute,
        rows: Sequence[tuple[Value, ...]],
        plan: Plan,
        watched: Watched | None = None,
    ) -> list[Prediction]:
        """As `Predictor.predict`, in a batch: on the event loop, ``watched``, or on a thread of the model.

        Raises, too, `Problem`: 503 when too many requests of the model are under way, or when the model's promise could not
        be kept for this one; 504 when the caller's deadline, or the promise after all, has passed."""
        line = self._line(route, watched)
        now, count = self._clock(), max(len(rows), 1)
        expected_s = now
        if plan.promise_s != NEVER:
            expected_s = line.queue.expected_s(plan, count, now)
            if not line.queue.admits(plan, count, expected_s - now):
                raise self._unpromised(route, plan, expected_s - now)
        if watched is not None and line.is_alone(self._turns.rounds):
            return self._alone(line, watched, plan, release, route, rows)
        line.lane.enter()
        context = None if UNDER_WAY.get() is None else copy_context()
        waiting = _Waiting(Wanted(release, route, rows, now, context), plan, now + time_left_s(), expected_s)
        line.queue.put(waiting)
        self._tell(line)
        return await waiting.answer

    def _alone(
        self,
        line: "_Line",
        watched: Watched,
        plan: Plan,
        release: LoadedRelease,
        route: LoadedRoute,
        rows: Sequence[tuple[Value, ...]],
    ) -> list[Prediction]:
        """A request that finds the event loop free, and nobody who might come with it: a batch without the gathering."""
        line.lane.enter()
        begun = ended = self._clock()
        try:
            require_time()
            answer: list[Prediction] = watched(route, self._predictor.predict, release, route, rows)
        finally:
            ended = self._clock()
            line.lane.leave(begun, begun)
            self._turns.spend(ended - begun)
        line.queue.pace.took(plan, max(len(rows), 1), ended - begun)
        line.rows.observe(max(len(rows), 1))
        if ended - begun > plan.promise_s:
            raise self._late(route, plan)
        return answer

    async def promised(self, route: LoadedRoute, plan: Plan, count: int, work: Callable[[], Awaitable[_T]]) -> _T:
        """What ``work`` gives for ``count`` rows, too many to be gathered, within the promise of the model; or `Problem`, as
        `predict` raises it."""
        if plan.promise_s == NEVER:
            return await work()
        begun, least_s = self._clock(), plan.cost.seconds(count)
        if least_s > plan.promise_s:
            raise self._unpromised(route, plan, least_s)
        shorten(plan.promise_s)
        answer = await work()
        if self._clock() - begun > plan.promise_s:
            raise self._late(route, plan)
        return answer

    def _line(self, route: LoadedRoute, watched: Watched | None) -> "_Line":
        name, here = route.model.name, watched is not None
        line = self._lines.get((name, here))
        if line is None:
            took_s = max(each.row_s for each in route.arms)
            line = self._lines[name, here] = _Line(
                self._turns.lane(name, aside=not here, took_s=took_s), watched, self._metrics
            )
        return line

    def _tell(self, line: "_Line") -> None:
        """Have a look soon, unless that is agreed, or all threads have a batch: they look when they have done."""
        if line.queue.waiting and not line.told and line.drivers < line.lane.slots:
            line.told = True
            asyncio.get_running_loop().call_soon(self._look, line)

    def _look(self, line: "_Line") -> None:
        """Answer who waits, in this round of the event loop."""
        line.told = False
        if line.watched is not None:
            line.seen(len(line.queue.waiting))
            self._here(line, line.watched)
        else:
            line.drivers += 1
            driving = asyncio.get_running_loop().create_task(self._aside(line))
            self._driving.add(driving)
            driving.add_done_callback(self._driving.discard)
        self._tell(line)

    def _here(self, line: "_Line", watched: Watched) -> None:
        batch, begun = self._next(line)
        if not batch:
            return
        found: Sequence[list[Prediction] | Exception]
        try:
            found = watched(batch[0].wanted.route, self._predictor.predict_together, [each.wanted for each in batch])
        except Exception as error:  # noqa: BLE001  # raised again for the requests whose it is
            found = [error] * len(batch)
        self._deliver(line, batch, found, begun)
        self._turns.spend(self._clock() - begun)

    async def _aside(self, line: "_Line") -> None:
        await take_slot(line.lane)
        try:
            batch, begun = self._next(line)
            if batch:
                await self._on_thread(line, batch, begun)
        finally:
            line.drivers -= 1
            pass_on(line.lane)
            self._tell(line)

    async def _on_thread(self, line: "_Line", batch: "Sequence[_Waiting]", begun: float) -> None:
        loop, executor = asyncio.get_running_loop(), self._turns.executor(line.lane.name)
        until_s = begun + line.queue.pace.seconds(batch[0].plan, sum(each.count for each in batch))
        line.queue.begin(until_s)
        found: Sequence[list[Prediction] | Exception]
        try:
            found = await loop.run_in_executor(executor, self._predictor.predict_together, [each.wanted for each in batch])
        except Exception as error:  # noqa: BLE001  # raised again for the requests whose it is
            found = [error] * len(batch)
        finally:
            line.queue.end(until_s)
        self._deliver(line, batch, found, begun)

    def _next(self, line: "_Line") -> "tuple[list[_Waiting], float]":
        """The next batch, and when it begins; who cannot be answered any more is told so."""
        now = self._clock()
        batch, left = line.queue.take(now)
        for each in left:
            line.lane.leave(each.wanted.came_s, None)
            if not each.gone:
                each.answer.set_exception(self._too_late(each, now))
        return batch, now

    def _deliver(
        self, line: "_Line", batch: "Sequence[_Waiting]", found: Sequence[list[Prediction] | Exception], begun: float
    ) -> None:
        now, rows, plan = self._clock(), sum(each.count for each in batch), batch[0].plan
        line.queue.pace.took(plan, rows, now - begun)
        line.rows.observe(rows)
        for each, answer in zip(batch, found, strict=True):
            line.lane.leave(each.wanted.came_s, begun)
            line.seconds.observe(begun - each.wanted.came_s)
            if each.plan.promise_s != NEVER:
                line.queue.pace.answered(each.plan, now - each.expected_s)
            if each.gone:
                continue
            if isinstance(answer, Exception):
                each.answer.set_exception(answer)
            elif now > each.due_s:
                each.answer.set_exception(self._late(each.wanted.route, each.plan))
            else:
                each.answer.set_result(answer)

    def _too_late(self, each: "_Waiting", now: float) -> Problem:
        if now >= each.until_s:
            return expired()
        if now > each.due_s:
            return self._late(each.wanted.route, each.plan)
        return self._unpromised(each.wanted.route, each.plan, each.plan.promise_s)

    def _late(self, route: LoadedRoute, plan: Plan) -> Problem:
        self._metrics.refused.labels(route.model.name, "late").inc()
        return Problem(504, f"{route.model.name} did not answer within its max_latency of {plan.promise_s * 1e3:g} ms")

    def _unpromised(self, route: LoadedRoute, plan: Plan, expected_s: float) -> Problem:
        name = route.model.name
        self._metrics.refused.labels(name, "max_latency").inc()
        why = f"{name} would not answer within its max_latency of {plan.promise_s * 1e3:g} ms; ask again"
        return Problem(503, why, retry_s=expected_s)


class _Line:
    """The requests of one model, on the event loop (``watched``) or on its threads."""

    def __init__(self, lane: Lane, watched: Watched | None, metrics: Metrics) -> None:
        self.lane, self.watched = lane, watched
        self.queue: Queue[_Waiting] = Queue(lane.slots, NEVER if watched is None else ROUND_S)
        self.told = False
        self.drivers = 0
        self._company, self._round = 1.0, -1
        self.rows: Any = metrics.batch_rows.labels(lane.name)
        self.seconds: Any = metrics.queue_seconds.labels(lane.name)

    def is_alone(self, number: int) -> bool:
        """Whether a request that comes to the event loop in the round of that number is likely to be the only one in it, so
        that it need not be looked for others."""
        if self.told or self._company >= _COMPANY:
            return False
        self.seen(2 if number == self._round else 1)
        self._round = number
        return True

    def seen(self, together: int) -> None:
        """So many requests came in one round."""
        self._company += _SHARE * (together - self._company)


class _Waiting:
    """A request that waits for its answer."""

    __slots__ = ("answer", "count", "due_s", "expected_s", "plan", "until_s", "wanted")

    def __init__(self, wanted: Wanted, plan: Plan, until_s: float, expected_s: float) -> None:
        self.wanted, self.plan, self.until_s, self.expected_s = wanted, plan, until_s, expected_s
        self.count = max(len(wanted.rows), 1)
        self.due_s = wanted.came_s + plan.promise_s
        self.answer: asyncio.Future[list[Prediction]] = asyncio.get_running_loop().create_future()

    @property
    def gone(self) -> bool:
        return self.answer.done()
