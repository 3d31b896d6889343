"""Threads for work that lets go of the interpreter's lock: compiled functions, Arrow, sorting."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")
Other = TypeVar("Other")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def in_parallel(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """``work`` of each part, in their order; on as many threads as there are cores. The first error is raised.

    >>> in_parallel(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    if len(parts) < 2 or cores() < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(min(cores(), len(parts)), "skyloom-join") as threads:
        return list(threads.map(work, parts))


def side_by_side(one: Callable[[], Result], other: Callable[[], Other]) -> tuple[Result, Other]:
    """Both results; on two threads where there are two cores. An error of ``one`` goes before one of the other.

    >>> side_by_side(lambda: 1, lambda: "a")
    (1, 'a')
    """
    if cores() < 2:
        return one(), other()
    with ThreadPoolExecutor(1, "skyloom-join") as thread:
        second = thread.submit(other)
        return one(), second.result()
