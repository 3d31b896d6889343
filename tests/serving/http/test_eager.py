"""Coroutines that are begun without a task go on as if they had always had one."""

import asyncio
import contextvars
import gc
import types
import weakref
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any

import pytest
import uvloop

from skyloom.serving.http.eager import begin, own_task

LOOPS = [None, uvloop.new_event_loop]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Any:
    def run_on(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main)

    return run_on


class Ends(list[str]):
    """What has ended, in order."""

    def begin(self, work: Coroutine[Any, Any, None], name: str = "it") -> asyncio.Task[None] | None:
        return begin(work, self.append, name)


async def nothing() -> None:
    pass


def test_what_waits_for_nothing_needs_no_task(run: Any) -> None:
    seen: list[Any] = []

    async def work() -> None:
        await nothing()
        seen.extend([each async for each in numbers()])

    async def numbers() -> AsyncIterator[int]:
        for each in range(3):
            yield each

    async def main() -> None:
        ends = Ends()
        assert ends.begin(work()) is None
        assert (seen, ends) == ([0, 1, 2], []), "whoever begins it sees that it has ended"

    run(main())


def test_an_error_before_anything_is_waited_for_is_raised_at_once(run: Any) -> None:
    async def work() -> None:
        raise ValueError("now")

    async def main() -> None:
        with pytest.raises(ValueError, match="now"):
            Ends().begin(work())

    run(main())


def test_what_is_waited_for_comes_back(run: Any) -> None:
    seen: list[Any] = []

    async def work(future: asyncio.Future[int], late: asyncio.Future[int]) -> None:
        seen.append(await future)
        try:
            await late
        except KeyError as error:
            seen.append(error.args[0])
        await asyncio.sleep(0)
        seen.append(await asyncio.wait_for(inner(), 5))
        seen.append(await asyncio.get_running_loop().run_in_executor(None, str, 7))
        seen.append(await asyncio.gather(inner(), inner()))
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            nested = group.create_task(inner())
        seen.append(nested.result())

    async def inner() -> int:
        await asyncio.sleep(0)
        return 3

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future, late = loop.create_future(), loop.create_future()
        ends = Ends()
        task = ends.begin(work(future, late))
        assert task is not None
        assert (seen, ends) == ([], [])
        future.set_result(1)
        await asyncio.sleep(0)
        late.set_exception(KeyError(2))
        await task
        assert (seen, ends) == ([1, 2, 3, "7", [3, 3], 3], ["it"])

    run(main())


def test_a_future_that_is_done_before_the_task_begins_is_seen(run: Any) -> None:
    seen: list[Any] = []

    async def work(future: asyncio.Future[int]) -> None:
        seen.append(await future)

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        task = Ends().begin(work(future))
        future.set_result(1)
        assert task is not None
        await task
        assert seen == [1]

    run(main())


@pytest.mark.parametrize("at", ["before its first step", "later"])
@pytest.mark.parametrize("how", ["ends", "goes on", "answers with another error"])
def test_a_cancellation_reaches_the_work(run: Any, at: str, how: str) -> None:
    seen: list[str] = []

    async def work(future: asyncio.Future[None]) -> None:
        try:
            await future
        except asyncio.CancelledError:
            seen.append("cancelled")
            if how == "goes on":
                await asyncio.sleep(0)
                seen.append("went on")
                return
            if how == "ends":
                raise
            raise KeyError("other") from None
        finally:
            seen.append("finally")

    async def main() -> None:
        ends = Ends()
        task = ends.begin(work(asyncio.get_running_loop().create_future()))
        assert task is not None
        if at == "later":
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert ends == ["it"]
        if how == "goes on":
            assert (task.cancelled(), seen) == (False, ["cancelled", "went on", "finally"])
        elif how == "ends":
            assert (task.cancelled(), seen) == (True, ["cancelled", "finally"])
        else:
            assert isinstance(task.exception(), KeyError)
            assert seen == ["cancelled", "finally"]

    run(main())


def test_errors_end_the_task(run: Any) -> None:
    async def work(nested: bool) -> None:
        await asyncio.sleep(0)
        if nested:
            await fail()
        raise ValueError("later")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("later")

    async def main() -> None:
        for nested in (False, True):
            ends = Ends()
            task = ends.begin(work(nested))
            assert task is not None
            with pytest.raises(ValueError, match="later"):
                await task
            assert ends == ["it"]

    run(main())


def test_time_runs_out_inside_of_it(run: Any) -> None:
    seen: list[str] = []

    async def work() -> None:
        await own_task()
        try:
            async with asyncio.timeout(0):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            seen.append("too late")

    async def main() -> None:
        task = Ends().begin(work())
        assert task is not None
        await task
        assert seen == ["too late"]

    run(main())


def test_its_context_is_its_own_from_its_own_task_on(run: Any) -> None:
    known: contextvars.ContextVar[str] = contextvars.ContextVar("known", default="nothing")
    seen: list[Any] = []

    async def work(name: str) -> None:
        await own_task()
        mine = asyncio.current_task()
        known.set(name)
        await own_task()
        await asyncio.sleep(0)
        assert asyncio.current_task() is mine
        seen.append(known.get())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks: list[Any] = []
        for name in "ab":
            loop.call_soon(lambda name=name: tasks.append(Ends().begin(work(name))))
        while len(tasks) < 2:
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert seen == ["a", "b"]
        assert known.get() == "nothing"

    run(main())


def test_work_that_is_dropped_is_closed(run: Any) -> None:
    seen: list[str] = []

    @types.coroutine
    def once() -> Generator[None]:
        yield

    async def work() -> None:
        try:
            await once()
            await once()
            await asyncio.get_running_loop().create_future()
        finally:
            seen.append("closed")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        task = Ends().begin(work())
        assert task is not None
        for _ in range(4):
            await asyncio.sleep(0)
        task.get_coro().close()
        assert seen == ["closed"]
        task.cancel()
        await asyncio.wait({task})

    run(main())


def test_errors_of_threads_leave_nothing_behind(run: Any) -> None:
    """An error holds the frames that it has passed through, and a future its error: neither may hold the other."""

    class Body(bytearray):
        pass

    held: list[weakref.ref[Body]] = []

    def fail(body: Body) -> None:
        raise ValueError(f"{len(body)} bytes")

    async def work(how: str) -> None:
        body = Body(b"abc")
        held.append(weakref.ref(body))
        try:
            if how == "thread":
                await asyncio.get_running_loop().run_in_executor(None, fail, body)
            else:
                await own_task()
                async with asyncio.timeout(0):
                    await asyncio.get_running_loop().create_future()
        except (ValueError, TimeoutError):
            pass

    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            for how in ("thread", "time"):
                task = Ends().begin(work(how))
                assert task is not None
                await task
                del task
                await asyncio.get_running_loop().run_in_executor(None, str)
            assert [each() for each in held] == [None, None]
        finally:
            gc.enable()

    run(main())
