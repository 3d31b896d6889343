"""Who waits for a model, who is answered next and together with whom, and who need not wait at all. Without a clock.

Nothing waits for company: a request that finds the model free is answered at once, and what comes while the model works is
answered together when it has done so. Waiting longer than that would buy larger batches with the time of callers exactly
when there is time to spare.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from skyloom.serving.batch_cost import LONGEST_S, Cost

NEVER = math.inf
USUAL_S = 0.025
"""How long a batch of a model without a promise may take."""

_AROUND_S = 0.0001
"""What features, receipt and answer of a row cost, about."""
_SHARE = 0.1
_LATE = 0.02
"""The share of answers that may come later than expected with the margin as it is; then it grows."""


class Plan(NamedTuple):
    """How the requests of one model are answered: at most ``most`` rows together, each request within ``promise_s`` seconds
    or not at all (`NEVER`: no promise), and what a batch costs in the model."""

    cost: Cost
    most: int = 1
    promise_s: float = NEVER


def plan_for(costs: Sequence[Cost], max_latency_ms: int) -> Plan | None:
    """How to answer for versions of such costs under a promise in milliseconds (0: none); ``None`` where there is nothing to
    plan: each request is answered by itself, as it comes.

    Rows of several versions are asked version by version: that costs each one's fixed part.

    >>> plan_for([Cost(0.0, 1e-5)], 0)
    >>> plan_for([Cost(0.0, 1e-5)], 20).most
    1
    >>> plan_for([Cost(0.001, 0.0001, most=64, gathers=True)], 10).most
    40
    """
    promise_s = max_latency_ms / 1e3 if max_latency_ms else NEVER
    gathers = any(each.gathers for each in costs)
    if not gathers and promise_s == NEVER:
        return None
    cost = Cost(sum(each.fixed_s for each in costs), max(each.row_s for each in costs))
    if not gathers:
        return Plan(cost, 1, promise_s)
    longest_s = min(promise_s / 2, LONGEST_S) if max_latency_ms else USUAL_S  # it may come just after another one has begun
    most = max(each.most for each in costs if each.gathers)
    fitting = int((longest_s - cost.fixed_s) / cost.row_s) if cost.row_s else most
    return Plan(cost, max(1, min(most, fitting)), promise_s)


def work_s(plan: Plan, rows: int) -> float:
    """What a batch of so many rows costs, in seconds of processor time: the model, and what is done around it."""
    return plan.cost.seconds(rows) + rows * _AROUND_S


class Waits(Protocol):
    """A request that waits: its rows, when it came, the promise that holds for it (``due_s``), until when its caller waits
    (``until_s``), and whether nobody does any more."""

    plan: Plan
    count: int
    due_s: float
    until_s: float

    @property
    def gone(self) -> bool: ...


_W = TypeVar("_W", bound=Waits)


class Pace:
    """How many times as long batches take in truth as they cost (a machine that does other things lets them wait), learned
    from those that were; and how much later than expected answers come, but for the latest 2% of them."""

    def __init__(self) -> None:
        self._times = 1.0
        self.margin_s = 0.0

    def seconds(self, plan: Plan, rows: int) -> float:
        """How long a batch of so many rows is expected to take."""
        return self._times * work_s(plan, rows)

    def took(self, plan: Plan, rows: int, seconds: float) -> None:
        """A batch of ``rows`` took so long."""
        self._times += _SHARE * (seconds / work_s(plan, rows) - self._times)

    def answered(self, plan: Plan, late_s: float) -> None:
        """An answer came ``late_s`` after it was expected (below zero: before); the margin follows by steps that cancel out
        when a share of `_LATE` comes later than it (stochastic approximation of a quantile, Robbins and Monro 1951)."""
        longest_s = min(plan.promise_s, 1.0)
        moved = self.margin_s + longest_s / 10 * (1 - _LATE if late_s > self.margin_s else -_LATE)
        self.margin_s = min(max(moved, 0.0), longest_s / 2)


class Queue(Generic[_W]):
    """The requests of one model that wait, in the order in which they came. ``slots`` batches can be worked on at a time,
    each with ``longest_s`` of work at most where it has more than one request."""

    def __init__(self, slots: int, longest_s: float = NEVER) -> None:
        self.waiting: deque[_W] = deque()
        self.pace = Pace()
        self._slots, self._longest_s = slots, longest_s
        self._rows = 0
        self._busy: list[float] = []

    def expected_s(self, plan: Plan, rows: int, now_s: float) -> float:
        """When an answer to ``rows`` that come now is expected: after those before them, in batches as large as may be."""
        most = self._most(plan)
        ahead, before = divmod(self._rows, most)
        if before + rows > most:
            ahead, before = ahead + 1, 0
        free_s = max(min(self._busy), now_s) if len(self._busy) >= self._slots else now_s
        return free_s + ahead * self.pace.seconds(plan, most) / self._slots + self.pace.seconds(plan, before + rows)

    def admits(self, plan: Plan, rows: int, expected_s: float) -> bool:
        """Whether a request that is expected to be answered in ``expected_s`` seconds may wait under the promise. Who finds
        nobody else is refused only where the model alone takes longer: so an expectation that is wrong is found out."""
        if not self.waiting and not self._busy:
            return plan.cost.seconds(rows) <= plan.promise_s
        return expected_s + self.pace.margin_s <= plan.promise_s

    def put(self, each: _W) -> None:
        """Let a request wait."""
        self.waiting.append(each)
        self._rows += each.count

    def take(self, now_s: float) -> tuple[list[_W], list[_W]]:
        """The next batch, and those whom no answer can reach any more: who has gone, whose time is up or will be before the
        model could have answered. A batch is those who have waited longest, as many as may be asked together and are
        expected to be answered in time for each of them."""
        taken, left = list[_W](), list[_W]()
        rows, due_s = 0, NEVER
        while self.waiting:
            first = self.waiting[0]
            if first.gone or now_s >= first.until_s or now_s + first.plan.cost.seconds(first.count) > first.due_s:
                left.append(first)
            else:
                plan = taken[0].plan if taken else first.plan
                whole, due_s = rows + first.count, min(due_s, first.due_s)
                if taken and (whole > self._most(plan) or now_s + self.pace.seconds(plan, whole) > due_s):
                    break
                taken.append(first)
                rows = whole
            self.waiting.popleft()
            self._rows -= first.count
        return taken, left

    def begin(self, until_s: float) -> None:
        """A batch begins that is expected to end then."""
        self._busy.append(until_s)

    def end(self, until_s: float) -> None:
        """It has ended."""
        self._busy.remove(until_s)

    def _most(self, plan: Plan) -> int:
        """How many rows a batch may have here."""
        if self._longest_s == NEVER:
            return plan.most
        fitting = int((self._longest_s - plan.cost.fixed_s) / (plan.cost.row_s + _AROUND_S))
        return max(1, min(plan.most, fitting))
