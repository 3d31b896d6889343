"""Requests that are answered together: each as if it had been alone, in time or not at all."""

import asyncio
import contextlib
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from batch_world import POISON, STRANGE, BatchWorld, arrive, row, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from load import SOAK, tell

from skyloom.serving.concurrency import THREADS
from skyloom.serving.deadlines import begin
from skyloom.serving.traces import UNDER_WAY, Recording, Underway
from skyloom.serving.wire import Problem


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> BatchWorld:
    return BatchWorld(tmp_path_factory.mktemp("batches"))


VALUES = st.sampled_from([POISON, STRANGE, 1.0, 2.5]) | st.floats(-1e3, 1e3)
ASKED = st.lists(
    st.tuples(st.integers(0, 20), st.lists(st.tuples(VALUES, st.floats(-1e3, 1e3)), min_size=1, max_size=4), st.booleans()),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=60 * SOAK)
@given(ASKED)
def test_every_answer_and_receipt_is_the_one_that_the_request_gets_alone(batches: BatchWorld, asked: list[Any]) -> None:
    """Whenever they come (milliseconds), whichever of two releases is obeyed then, with rows that break the model."""
    releases = [batches.release(1, (1, 2)), batches.release(2, (2, 3))]
    requests = [
        (at / 1e3, releases[newer], [row(f"{number}-{place}", *values) for place, values in enumerate(rows)])
        for number, (at, rows, newer) in enumerate(asked)
    ]
    batches.receipts()
    wanted = [batches.alone(release, rows) for _, release, rows in requests]
    alone = batches.receipts()

    async def scenario() -> list[Any]:
        done = [(at, lambda release=release, rows=rows: _tried(batches, release, rows)) for at, release, rows in requests]
        return [task.result() for task in await arrive(batches.clock, done)]

    answers = asyncio.run(scenario())
    order = sorted(range(len(requests)), key=lambda number: requests[number][0])
    assert repr(answers) == repr([wanted[number] for number in order])
    assert repr(sorted(batches.receipts().items())) == repr(sorted(alone.items()))


async def _tried(batches: BatchWorld, release: Any, rows: Any, *, here: bool = True) -> Any:
    try:
        return shown(await batches.ask(release, rows, here=here))
    except Problem as problem:
        return shown(problem)


async def several(batches: BatchWorld, release: Any) -> None:
    """So many requests at once that those after them are gathered."""
    await asyncio.gather(*(batches.ask(release, [row(f"before-{number}")]) for number in range(9)))


def test_what_comes_in_one_round_is_one_run_and_a_lone_request_waits_for_nobody(tmp_path: Path) -> None:
    batches = BatchWorld(tmp_path)
    release, scorer = batches.release(), batches.scorers[0]

    async def scenario() -> None:
        begun = batches.clock.now
        await batches.ask(release, [row("first")])
        assert batches.clock.now - begun == pytest.approx(batches.cost.seconds(1))
        for _ in range(3):
            await asyncio.gather(*(batches.ask(release, [row(f"{number}")]) for number in range(10)))

    asyncio.run(scenario())
    assert [len(run) for run in scorer.runs] == [1, 1, 1, 1, 1, 6, 10, 10]  # soon nobody is taken for alone any more
    assert batches.counted("skyloom_batch_rows_sum", model="sums") == 31
    assert batches.counted("skyloom_batch_rows_count", model="sums") == 8
    assert batches.counted("skyloom_queue_seconds_count", model="sums") == 26


def test_a_row_that_breaks_the_model_breaks_no_other_answer(tmp_path: Path) -> None:
    batches = BatchWorld(tmp_path)
    release, scorer = batches.release(), batches.scorers[0]

    async def scenario() -> list[Any]:
        await several(batches, release)
        values = [1.0, POISON, 2.0, STRANGE, 3.0]
        return await asyncio.gather(*(_tried(batches, release, [row(f"u{value}", value)]) for value in values))

    answers = asyncio.run(scenario())
    assert [answer[0] if isinstance(answer, tuple) else 200 for answer in answers] == [200, 500, 200, 500, 200]
    assert "ValueError: no such row" in answers[1][1]
    assert "the model answered nan" in answers[3][1]
    assert [len(run) for run in scorer.runs][-6:] == [5, 1, 1, 1, 1, 1]
    assert batches.counted("skyloom_model_errors_total", model="sums", version="1", arm="champion") == 2


def test_who_waits_while_a_release_is_swapped_is_answered_by_the_one_he_came_to(tmp_path: Path) -> None:
    """While the threads are busy with the first requests, others come, to the old release and to the new one."""
    batches = BatchWorld(tmp_path)
    old, new = batches.release(1, (1,)), batches.release(2, (2,))
    entered, gate = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        entered.release()
        assert gate.wait(20)

    async def scenario() -> list[Any]:
        batches.scorers[0].meanwhile = hold
        held = []
        for number in range(THREADS):
            held.append(asyncio.create_task(_tried(batches, old, [row(f"held-{number}")], here=False)))
            assert await asyncio.to_thread(entered.acquire, timeout=20)
        later = [
            asyncio.create_task(_tried(batches, (old, new)[number % 2], [row(f"{number}")], here=False))
            for number in range(20)
        ]
        await asyncio.sleep(0)
        batches.scorers[0].meanwhile = lambda: None
        gate.set()
        await asyncio.gather(*held)
        return await asyncio.gather(*later)

    answers = asyncio.run(scenario())
    digests = [old.digest, new.digest]
    assert [answer[0][:2] for answer in answers] == [(number % 2 + 1, digests[number % 2]) for number in range(20)]
    assert sorted(len(run) for run in batches.scorers[0].runs + batches.scorers[1].runs) == [*[1] * THREADS, 10, 10]


def test_who_no_longer_waits_is_left_out_of_the_batch(tmp_path: Path) -> None:
    batches = BatchWorld(tmp_path)
    release, scorer = batches.release(), batches.scorers[0]

    async def expired() -> Any:
        begin(0.0)
        return await _tried(batches, release, [row("expired")])

    async def scenario() -> list[Any]:
        await several(batches, release)
        waiting = [asyncio.create_task(_tried(batches, release, [row("a")])), asyncio.create_task(expired())]
        gone = asyncio.create_task(batches.ask(release, [row("gone")]))
        waiting.append(asyncio.create_task(_tried(batches, release, [row("b")])))
        await asyncio.sleep(0)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        return await asyncio.gather(*waiting)

    answers = asyncio.run(scenario())
    assert [type(answer) for answer in answers] == [list, tuple, list]
    assert answers[1] == (504, "the deadline of the request has passed; it was not answered")
    assert len(scorer.runs[-1]) == 2
    assert batches.turns.lane("sums", aside=False, took_s=1.0).under_way == 0


class Offered:
    """Requests that come evenly, ``times`` as many as the model can answer, and what became of them."""

    def __init__(self, batches: BatchWorld, rate: float, count: int) -> None:
        self.batches, self.clock = batches, batches.clock
        self.gap_s, self.count = 1 / rate, count
        self.answered, self.refused = list[float](), list[tuple[int, float]]()

    async def one(self, release: Any, number: int) -> None:
        came = self.clock.now
        try:
            await self.batches.ask(release, [row(f"{number}")])
        except Problem as problem:
            self.refused.append((problem.status, self.clock.now - came))
        else:
            self.answered.append(self.clock.now - came)

    async def run(self, release: Any) -> float:
        begun = self.clock.now
        arrivals = [(number * self.gap_s, lambda number=number: self.one(release, number)) for number in range(self.count)]
        await arrive(self.clock, arrivals)
        return self.clock.now - begun


@pytest.mark.parametrize(("most", "promise_ms"), [(64, 20), (64, 9), (1, 20)])
def test_under_three_times_the_load_no_answer_is_late_and_most_refusals_are_at_once(
    tmp_path: Path, most: int, promise_ms: int
) -> None:
    batches = BatchWorld(tmp_path, fixed_s=0.001, row_s=0.0002, most=most, max_latency_ms=promise_ms)
    release = batches.release()
    plan = release.routes["sums"].batching
    assert plan is not None
    together = min(plan.most, 15)  # a round of the event loop is 4 ms
    capacity = together / plan.cost.seconds(together)
    offered = Offered(batches, 3 * capacity, 1_500 * SOAK)
    took_s = asyncio.run(offered.run(release))
    late = [each for each in offered.answered if each > promise_ms / 1e3]
    at_once = [waited for status, waited in offered.refused if status == 503 and waited == 0]
    tell(
        f"batches of {most}, {promise_ms} ms: {len(offered.answered)} answered ({len(offered.answered) / took_s:.0f} of"
        f" {capacity:.0f} a second), {len(late)} late; {len(offered.refused)} refused, {len(at_once)} at once"
    )
    assert late == []
    assert len(offered.answered) / took_s > 0.8 * capacity
    assert len(at_once) > 0.95 * len(offered.refused)
    assert len(offered.answered) + len(offered.refused) == offered.count
    told = sum(batches.counted("skyloom_refused_total", model="sums", why=why) for why in ("max_latency", "late"))
    assert told == len(offered.refused)


def test_a_model_that_is_slower_than_measured_answers_nobody_late_and_is_asked_again_when_it_is_well(tmp_path: Path) -> None:
    batches = BatchWorld(tmp_path, max_latency_ms=10)
    release, scorer = batches.release(), batches.scorers[0]
    scorer.fixed_s = 0.05
    ill = Offered(batches, 500, 100)
    asyncio.run(ill.run(release))
    assert ill.answered == []
    assert {status for status, _ in ill.refused} <= {503, 504}
    scorer.fixed_s = 0.001
    well = Offered(batches, 500, 600)
    asyncio.run(well.run(release))
    assert max(well.answered) <= 0.01
    assert len(well.answered) > 400


def test_a_model_of_uneven_pace_answers_nobody_late_and_few_in_vain(tmp_path: Path) -> None:
    """Each run takes from half as long as was measured to twice as long."""
    batches = BatchWorld(tmp_path, fixed_s=0.001, row_s=0.0002, max_latency_ms=20)
    release, scorer, uneven = batches.release(), batches.scorers[0], random.Random(0)

    def stall() -> None:
        batches.clock.now += uneven.uniform(-0.5, 1.0) * (0.001 + 0.0002 * len(scorer.runs[-1]))

    scorer.meanwhile = stall
    offered = Offered(batches, 12_000, 3_000 * SOAK)
    asyncio.run(offered.run(release))
    in_vain = sum(status == 504 for status, _ in offered.refused)
    tell(
        f"uneven: {len(offered.answered)} answered, {len(offered.refused)} refused, {in_vain} of them after they had waited"
    )
    assert max(offered.answered) <= 0.02
    assert len(offered.answered) > 500 * SOAK
    assert in_vain < 0.05 * len(offered.answered)


def test_a_request_that_takes_longer_than_promised_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    batches = BatchWorld(tmp_path, row_s=0.001, max_latency_ms=10)
    release = batches.release()

    async def scenario() -> Any:
        return await _tried(batches, release, [row(f"{number}") for number in range(16)])

    status, why = asyncio.run(scenario())
    assert (status, why) == (503, "sums would not answer within its max_latency of 10 ms; ask again")
    assert batches.scorers[0].runs == []


def test_many_rows_of_one_request_keep_the_promise_too(tmp_path: Path) -> None:
    batches = BatchWorld(tmp_path, max_latency_ms=10)
    route = batches.release().routes["sums"]
    assert route.batching is not None

    async def takes(seconds: float) -> str:
        batches.clock.now += seconds
        return f"{seconds:g}"

    async def scenario(count: int, seconds: float) -> Any:
        try:
            return await batches.batches.promised(route, route.batching, count, lambda: takes(seconds))  # type: ignore[arg-type]
        except Problem as problem:
            return problem.status

    assert [asyncio.run(scenario(20, seconds)) for seconds in (0.009, 0.011)] == ["0.009", 504]
    assert asyncio.run(scenario(200, 0.001)) == 503  # 21 ms in the model


def test_each_request_of_a_batch_is_recorded_by_itself(tmp_path: Path) -> None:
    batches = BatchWorld(tmp_path)
    batches.predictor._traced = True  # pyright: ignore[reportPrivateUsage]
    release = batches.release()

    async def traced(number: int) -> Recording:
        kept = Recording(f"{number:032x}", f"{number:016x}")
        UNDER_WAY.set(Underway(f"{number}", kept.trace_id, kept))
        await batches.ask(release, [row(f"{number}")])
        return kept

    async def scenario() -> list[Recording]:
        await several(batches, release)
        return await asyncio.gather(*(traced(number) for number in range(5)))

    kept = asyncio.run(scenario())
    assert len(batches.scorers[0].runs[-1]) == 5
    assert len({tuple(span.name for span in each.spans) for each in kept}) == 1
    assert all(len(each.spans) >= 2 for each in kept)
