"""What a model costs by the number of rows that it is asked at once, measured when it is loaded; and whether its answers
have the same bits then. Nothing else decides whether requests of different callers are answered together.

Matrix products are the models that batches are for: a row alone moves all weights through the processor's caches, sixteen
rows move them once. They are also those whose last bits may depend on the size of a batch. Whether they do is decided by
kernels that look at the shape alone, never at the values: so it is tried here, on this machine, for every size that will be
used and every place in it, with many rows. Sizes that gave other bits are never used.
"""

import asyncio
import random
import struct
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from skyloom.package import LoadedPackage, Scorer
from skyloom.package.scorer import Value

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""How many rows at once are measured."""
GAIN = 1.3
"""How many times the requests a second batches have to give, all that a request takes included, to be worth it."""

LONGEST_S = 0.05
"""No larger batch than one that takes so long is measured, or used."""

_BLOCKS = (*range(2, 17), 32, 64)
_SLOW_S, _SLOW_BLOCKS, _SLOW_POOL = 0.001, SIZES[1:], 16
"""A model that takes so long for a row is tried with fewer sizes and rows."""
_ROUNDS = 8
_POOL = 64
_TIMED = 7
_TRIAL_S = 1.5
"""How long all of that may take, in seconds of processor time."""
_HAND_OVERS = 128
_GATHERED, _REQUEST = 3.0, 10.0
"""What gathering adds to a request, and what a request takes besides its model, in hand-overs (`hand_over_s`): 30 and 100 us
where a hand-over takes 10 us, one client after the other."""

Row = tuple[Value, ...]


class Cost(NamedTuple):
    """Seconds for ``n`` rows at once: ``fixed_s + n * row_s``. ``most`` is the largest batch whose answers are known to have
    the bits of single rows (1: none), ``gathers`` whether batches of that many rows are worth gathering.

    >>> round(Cost(fixed_s=0.001, row_s=0.0001, most=64, gathers=True).seconds(10), 6)
    0.002
    """

    fixed_s: float = 0.0
    row_s: float = 0.0
    most: int = 1
    gathers: bool = False

    def seconds(self, rows: int) -> float:
        """How long so many rows take at once, in seconds."""
        return self.fixed_s + rows * self.row_s


def measure(package: LoadedPackage, alone_s: float) -> Cost:
    """What a package costs, and the sizes at which it may be asked, which its scorer is told (`Scorer.blocks`).

    ``alone_s`` is what a row alone takes. Where even batches that cost nothing but their gathering would not pay, or where
    rows cannot be told apart, nothing more is measured: the models of most tables, trees, are asked a row at a time.
    """
    scorer, single = package.scorer, Cost(0.0, alone_s)
    if not pays({SIZES[-1]: 0.0}, alone_s, hand_over_s()) or not (scorer.rowwise or scorer.separable):
        return single
    slow = alone_s > _SLOW_S
    rows, sizes = _pool(package.golden.rows, _SLOW_POOL if slow else _POOL), _SLOW_BLOCKS if slow else _BLOCKS
    budget = _Budget(_TRIAL_S)
    try:
        curve = _curve(scorer, rows, budget)
        if not pays(curve, alone_s, hand_over_s()):
            return single
        sizes = [size for size in sizes if size <= max(curve)]
        blocks = sizes if scorer.rowwise else same_bits(scorer, rows, sizes, budget)
    except Exception:  # noqa: BLE001  # a model is foreign code, and need not be able to answer many rows at once
        return single
    most = max(blocks, default=1)
    within = {size: seconds for size, seconds in curve.items() if size <= most}
    if not pays(within, alone_s, hand_over_s()):
        return single
    scorer.blocks = tuple(sorted(blocks, reverse=True))
    fixed_s, row_s = fit(within)
    return Cost(fixed_s, row_s, most, gathers=True)


def pays(curve: dict[int, float], alone_s: float, handing_s: float) -> bool:
    """Whether with some batch of ``curve`` (rows -> seconds) `GAIN` times the requests a second are answered that are
    answered one by one: what gathering adds, and what a request takes besides its model, included.
    ``handing_s`` is what a hand-over takes.

    >>> pays({1: 0.001, 16: 0.004}, 0.001, 1e-5), pays({1: 0.001, 16: 0.016}, 0.001, 1e-5)
    (True, False)
    >>> pays({16: 0.0}, 0.00005, 1e-5)  # nobody would notice
    False
    """
    alone = _REQUEST * handing_s + alone_s
    more = (_REQUEST + _GATHERED) * handing_s
    return any(alone >= GAIN * (more + seconds / size) for size, seconds in curve.items() if size > 1)


def fit(curve: dict[int, float]) -> tuple[float, float]:
    """Seconds that a run takes and seconds that each row adds, by least squares of the relative errors; neither below zero.

    >>> [round(each, 9) for each in fit({1: 0.0011, 2: 0.0012, 4: 0.0014})]
    [0.001, 0.0001]
    """
    if len(curve) < 2:
        return 0.0, max([seconds / size for size, seconds in curve.items()], default=0.0)
    points = [(size, seconds, 1 / seconds**2) for size, seconds in curve.items() if seconds > 0]
    weight = sum(w for _, _, w in points)
    mean_n, mean_s = sum(w * n for n, _, w in points) / weight, sum(w * s for _, s, w in points) / weight
    spread = sum(w * (n - mean_n) ** 2 for n, _, w in points)
    row_s = max(sum(w * (n - mean_n) * (s - mean_s) for n, s, w in points) / spread, 0.0)
    return max(mean_s - row_s * mean_n, 0.0), row_s


def same_bits(scorer: Scorer, rows: Sequence[Row], sizes: Sequence[int], budget: "_Budget") -> list[int]:
    """The ``sizes`` at which ``rows`` were answered with the bits that they are answered with alone, each place of a batch
    in `_ROUNDS` draws. It ends at the first size that was not, or for which there was no time.

    None, too, for a model that hardly tells rows apart: its answers would be the same bits however they were computed.
    """
    alone = [_bits(scorer.score_row(row)) for row in rows]
    if len(set(alone)) < max(2, len(set(rows)) // 2):
        return []
    draw, found = random.Random(0), list[int]()  # any rows will do
    for size in sizes:
        for _ in range(_ROUNDS):
            chosen = draw.choices(range(len(rows)), k=size)
            answers = scorer.score_together([rows[at] for at in chosen])
            if budget.spent or [_bits(each) for each in answers] != [alone[at] for at in chosen]:
                return found
        found.append(size)
    return found


@cache
def hand_over_s() -> float:
    """What it costs to gather one request: seconds of processor time to put it into a queue, to look at that in a later
    round of an event loop, and to wake up who waits for the answer. Measured once a process, on a loop of its own."""

    async def one(queue: list[asyncio.Future[None]]) -> None:
        waits: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(waits)
        await waits

    async def all_of_them() -> float:
        loop, queue = asyncio.get_running_loop(), list[asyncio.Future[None]]()
        begun = time.thread_time()
        for _ in range(_HAND_OVERS):
            asked = loop.create_task(one(queue))
            await asyncio.sleep(0)
            queue.pop().set_result(None)
            await asked
        return (time.thread_time() - begun) / _HAND_OVERS

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(all_of_them())
    finally:
        loop.close()


class _Budget:
    """Seconds of this thread that a trial may take."""

    def __init__(self, seconds: float) -> None:
        self._until = time.thread_time() + seconds

    @property
    def spent(self) -> bool:
        return time.thread_time() >= self._until


def _curve(scorer: Scorer, rows: Sequence[Row], budget: _Budget) -> dict[int, float]:
    """Seconds by the number of rows at once, of this thread: the median of a few runs, of one where they take long."""
    curve: dict[int, float] = {}
    for size in SIZES:
        asked = [rows[at % len(rows)] for at in range(size)]
        first_s = _timed(lambda asked=asked: scorer.score_together(asked))
        runs = 1 if budget.spent else max(1, min(_TIMED, int(LONGEST_S / max(first_s, 1e-6))))
        times = sorted(_timed(lambda asked=asked: scorer.score_together(asked)) for _ in range(runs))
        if times[runs // 2] > LONGEST_S and size > 1:
            break
        curve[size] = times[runs // 2]
    return curve


def _timed(function: Callable[[], object]) -> float:
    begun = time.thread_time()
    function()
    return time.thread_time() - begun


def _pool(golden: Sequence[Row], count: int) -> list[Row]:
    """Golden rows, and more like them: each value from another one of them, so that there are enough to tell apart."""
    draw, rows = random.Random(1), list(golden[:count])
    columns = list(zip(*golden, strict=True))
    while columns and len(rows) < count:
        rows.append(tuple(draw.choice(column) for column in columns))
    return rows


def _bits(score: float) -> bytes:
    return struct.pack("d", score)
