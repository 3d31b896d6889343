"""How much is worked on at a time: no more than is answered soon, found by measuring; the rest is refused at once.

Short work is done on the event loop, a few milliseconds of it in each round, so that whatever else came (health, metrics,
refusals) is answered in between. Long work is done on threads of its model's own.
"""

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from skyloom.serving.deadlines import deadline_s, require_time
from skyloom.serving.metrics import Metrics
from skyloom.serving.slices import work_long
from skyloom.serving.wire import Problem

_T = TypeVar("_T")

ROUND_S = 0.004
"""How long the event loop works on predictions before it looks at what else has come."""
_WORTH_S = ROUND_S / 4
"""Less than this of short work is not forgotten with each round: that would cost a request one more turn of the loop."""
THREADS = max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2)
"""How many threads a slow model has."""

_WINDOW_S = 0.1
_SAMPLES = 10
_MOST = 1_000.0


class Gradient:
    """The limit of requests under way, waiting or worked on, by the gradient controller of Envoy's adaptive concurrency
    filter: ``limit' = gradient * limit + sqrt(limit)``, ``gradient = (ideal + patience) / seen``, held within 0.5 and 2.

    ``seen`` is how long requests took in a window, ``ideal`` how long they took once their turn had come: Envoy holds back
    traffic now and then to find that, here it is measured with every request. ``patience`` is how long a queue may be, in
    seconds. A limit that was not half used is left as it is, so that rest teaches nothing.

    >>> limit = Gradient(slots=1, took_s=0.001, patience_s=0.05)
    >>> round(limit.limit)
    51
    >>> for moment in range(1, 100):
    ...     limit.observe(moment * 0.02, waited_s=0.01 * limit.limit, took_s=0.01, under_way=int(limit.limit))
    >>> 5 < limit.limit < 10
    True
    """

    def __init__(self, slots: int, took_s: float, patience_s: float) -> None:
        self._least, self._patience_s = slots + 1.0, patience_s
        self.limit = self._held(slots * (took_s + patience_s) / max(took_s, 1e-6))  # Little's law
        self._begun, self._count, self._waited, self._took, self._most = -math.inf, 0, 0.0, 0.0, 0

    def observe(self, now_s: float, waited_s: float, took_s: float, under_way: int) -> None:
        """One request more: what it waited and took, and how many were under way with it."""
        if not self._count:
            self._begun = now_s
        self._count += 1
        self._waited += waited_s
        self._took += took_s
        self._most = max(self._most, under_way)
        if self._count >= _SAMPLES and now_s - self._begun >= _WINDOW_S:
            self._adapt()

    def _adapt(self) -> None:
        ideal, seen = self._took / self._count, (self._took + self._waited) / self._count
        if self._most >= self.limit / 2:
            gradient = min(max((ideal + self._patience_s) / max(seen, 1e-6), 0.5), 2.0)
            self.limit = self._held(gradient * self.limit + math.sqrt(self.limit))
        self._count, self._waited, self._took, self._most = 0, 0.0, 0.0, 0

    def _held(self, limit: float) -> float:
        return min(max(limit, self._least), _MOST)


class Lane:
    """The work on one model, all of it on the event loop or all of it on ``slots`` threads."""

    def __init__(self, name: str, slots: int, took_s: float, patience_s: float, metrics: Metrics) -> None:
        self.name, self.slots = name, slots
        self.gradient = Gradient(slots, took_s, patience_s)
        self.under_way = 0
        self.coming = 0
        """How many will be under way when their bodies have been read."""
        self.working = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.mean_s = took_s
        """How long one takes, in seconds: the newer, the more it counts."""
        self._refused = metrics.refused.labels(name, "busy")

    def enter(self) -> None:
        """Count one more; `Problem` with 503 when there are enough."""
        self.require_room()
        self.under_way += 1

    def require_room(self) -> None:
        """Raise `Problem` with 503 when there are enough."""
        if self.under_way + self.coming >= self.gradient.limit:
            self._refused.inc()
            rest_s = self.mean_s * self.under_way / self.slots
            raise Problem(503, f"{self.name} has as many requests as it can answer soon; ask again", retry_s=rest_s)

    def leave(self, came: float, began: float | None) -> None:
        """Count one less. Who never had its turn (``began`` is ``None``) teaches nothing."""
        if began is not None:
            now = time.perf_counter()
            took_s = now - began
            self.mean_s += 0.1 * (took_s - self.mean_s)
            self.gradient.observe(now, began - came, took_s, self.under_way)
        self.under_way -= 1


class Turns:
    """Deals out the event loop and the threads. To be used from the event loop."""

    def __init__(self, metrics: Metrics, patience_s: float) -> None:
        self.metrics, self._patience_s = metrics, patience_s
        self._lanes: dict[tuple[str, bool], Lane] = {}
        self._here: dict[str, Lane] = {}
        self._executors: dict[str, ThreadPoolExecutor] = {}
        self._spent = 0.0
        self._told = False
        self._mean_s = 0.001
        self.rounds = 0
        """How many rounds of the event loop had predictions in them."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def here(self, model: str, took_s: float, function: Callable[..., _T], *arguments: Any) -> _T:
        """What a function answers, on the event loop, when there is time for it in this round or a later one.

        Raises `Problem` with 503 when too many wait, and with 504 when the deadline passes before its turn."""
        lane = self.lane(model, aside=False, took_s=took_s)
        lane.enter()
        came, began = time.perf_counter(), None
        try:
            if self._waiting or self._spent >= ROUND_S:
                await self._turn()
            require_time()
            began = time.perf_counter()
            return function(*arguments)
        finally:
            lane.leave(came, began)
            if began is not None:
                self.spend(time.perf_counter() - began)

    def begin(self, model: str, took_s: float) -> Lane | None:
        """Enter work on a model that is done on the event loop at once, to be ended by `end`. ``None`` where `here` might
        have to wait, or come too late: others wait, no time is left in this round, or the request has a deadline. Raises
        `Problem` with 503 when too many are under way."""
        if self._waiting or self._spent >= ROUND_S or deadline_s() != math.inf:
            return None
        lane = self._here.get(model)
        if lane is None:
            lane = self._here[model] = self.lane(model, aside=False, took_s=took_s)
        if lane.under_way + lane.coming >= lane.gradient.limit:
            lane.require_room()
        lane.under_way += 1
        return lane

    def end(self, lane: Lane, began: float) -> float:
        """Leave work that `begin` entered, however it ended; how long it took, in seconds."""
        now = time.perf_counter()
        took_s = now - began
        lane.mean_s += 0.1 * (took_s - lane.mean_s)
        lane.gradient.observe(now, 0.0, took_s, lane.under_way)
        lane.under_way -= 1
        self._spent += took_s
        self._mean_s += 0.1 * (took_s - self._mean_s)
        if self._spent >= _WORTH_S and not self._told:
            self._tell()
        return took_s

    async def aside(self, model: str, took_s: float, function: Callable[..., _T], *arguments: Any) -> _T:
        """What a function answers, on a thread of the model, when one is free. Raises as `here`. Who is cancelled while it
        is worked on leaves its place only when that ends."""
        lane = self.lane(model, aside=True, took_s=took_s)
        lane.enter()
        came = time.perf_counter()
        try:
            await _slot(lane)
        except BaseException:
            lane.leave(came, None)
            raise
        began = time.perf_counter()
        work = asyncio.get_running_loop().run_in_executor(self.executor(model), function, *arguments)
        work.add_done_callback(lambda done: _worked(lane, came, began, done))
        return await asyncio.shield(work)

    @contextmanager
    def room(self, model: str) -> Generator[None]:
        """Keep a place on a thread of the model's while a heavy body is read, so that none is read in vain. Who was given it
        asks for it (`aside`) right behind the block. Raises `Problem` with 503 at the begin when there is none."""
        lane = self._lanes.get((model, True))
        if lane is None:
            yield
            return
        lane.require_room()
        lane.coming += 1
        try:
            yield
        finally:
            lane.coming -= 1

    def lane(self, model: str, *, aside: bool, took_s: float) -> Lane:
        """The work on a model, on threads (``aside``) or on the event loop."""
        lane = self._lanes.get((model, aside))
        if lane is None:
            made = Lane(model, THREADS if aside else 1, took_s, self._patience_s, self.metrics)
            lane = self._lanes[model, aside] = made
            where = "threads" if aside else "loop"
            self.metrics.concurrency_limit.labels(model, where).set_function(lambda: made.gradient.limit)
            self.metrics.under_way.labels(model, where).set_function(lambda: made.under_way)
        return lane

    def executor(self, model: str) -> ThreadPoolExecutor:
        """The threads of a model."""
        executor = self._executors.get(model)
        if executor is None:
            executor = self._executors[model] = ThreadPoolExecutor(THREADS, f"score {model}", work_long)
        return executor

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._tell()
        await turn

    def spend(self, seconds: float) -> None:
        """So much time of the event loop has gone to predictions."""
        self._spent += seconds
        self._mean_s += 0.1 * (seconds - self._mean_s)
        self._tell()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        """A new round of the event loop: as many of those who wait have their turn as there will be time for."""
        self._told, self._spent = False, 0.0
        self.rounds += 1
        left = max(1, int(ROUND_S / max(self._mean_s, 1e-6)))
        while self._waiting and left:
            turn = self._waiting.popleft()
            if not turn.done():  # else whoever it was waits no longer
                turn.set_result(None)
                left -= 1
        if self._waiting:
            self._tell()


async def _slot(lane: Lane) -> None:
    """Wait for a thread of the lane's, no longer than the deadline of the request."""
    await take_slot(lane)
    try:
        require_time()
    except Problem:
        pass_on(lane)
        raise


async def take_slot(lane: Lane) -> None:
    """Wait for a thread of the lane's, to be given back by `pass_on`; the first who came is the first who gets one."""
    if lane.working < lane.slots and not lane.waiting:
        lane.working += 1
    else:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                pass_on(lane)
            raise


def pass_on(lane: Lane) -> None:
    """Give a thread that is free again to who has waited longest."""
    while lane.waiting:
        turn = lane.waiting.popleft()
        if not turn.done():
            turn.set_result(None)
            return
    lane.working -= 1


def _worked(lane: Lane, came: float, began: float, done: "asyncio.Future[Any]") -> None:
    if not done.cancelled():
        done.exception()  # who was cancelled meanwhile does not ask for it
    lane.leave(came, began)
    pass_on(lane)
