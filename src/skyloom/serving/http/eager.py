"""Coroutines that are begun at once, without a task: most requests are answered before anything has to be waited for."""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

_T = TypeVar("_T")


def begin(work: Coroutine[Any, Any, None], after: Callable[[_T], None], about: _T) -> asyncio.Task[None] | None:
    """Run ``work`` until it waits for something; the task that goes on with it, or ``None`` when it has ended already.
    That task calls ``after`` in the end, however it ends.

    Up to there it has no task, so whoever sets a timeout or a context variable asks for one first (`own_task`).
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    going_on = _go_on(work, awaited, after, about)
    going_on.send(None)  # a task that is cancelled before its first step would not tell the work
    return asyncio.get_running_loop().create_task(going_on)


@types.coroutine
def own_task() -> Generator[None]:
    """Go on in a task, and so in a context, that belongs to this work alone."""
    if asyncio.current_task() is None:
        yield


async def _go_on(work: Coroutine[Any, Any, None], awaited: Any, after: Callable[[_T], None], about: _T) -> None:
    try:
        await _rest(work, awaited)
    finally:
        after(about)


@types.coroutine
def _rest(work: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any]:
    """Hand over what ``work`` waits for to the task that waits for us, and what comes back to ``work``."""
    is_in_task = False
    while True:
        try:
            if not is_in_task:
                is_in_task = True
                yield
            got = yield awaited
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001  # a cancellation among them: it is for the work to see
            step, given = work.throw, error
        else:
            step, given = work.send, got
        awaited = None  # a future holds its error, and that would hold this frame
        try:
            awaited = step(given)
        except StopIteration:
            return
        finally:
            got = given = None
