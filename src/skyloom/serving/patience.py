"""A bound for how long each of many tasks waits, kept by one timer for all of them.

A timer of its own for each request costs more than reading its body."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

_T = TypeVar("_T")


class Patience:
    """Waits ``within_s`` seconds and no longer than an eighth more. To be used from one event loop.

    >>> async def never() -> None:
    ...     await asyncio.get_running_loop().create_future()
    >>> async def waits() -> str:
    ...     try:
    ...         await Patience(0.001).wait(never())
    ...     except TimeoutError:
    ...         return "no longer"
    ...     return "as long as it takes"
    >>> asyncio.run(waits())
    'no longer'
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._waiting: dict[asyncio.Task[Any], float] = {}  # in the order of their bounds: they all wait as long
        self._late: set[asyncio.Task[Any]] = set()
        self._looking = False

    async def wait(self, awaited: Awaitable[_T]) -> _T:
        """What ``awaited`` gives. Raises `TimeoutError` when that takes too long; the task goes on with it."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = time.monotonic() + self._within_s
        if not self._looking:
            self._look_later()
        try:
            return await awaited
        except asyncio.CancelledError:
            if task in self._late and task.uncancel() <= 0:
                raise TimeoutError from None
            raise
        finally:
            self._waiting.pop(task, None)
            self._late.discard(task)

    def _look_later(self) -> None:
        self._looking = True
        asyncio.get_running_loop().call_later(self._within_s / 8, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        while self._waiting:
            task, until = next(iter(self._waiting.items()))
            if until > now:
                self._look_later()
                return
            del self._waiting[task]
            self._late.add(task)
            task.cancel()
        self._looking = False
