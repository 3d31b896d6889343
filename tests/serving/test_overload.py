"""More than can be answered: what is refused, what is never begun, and who is answered all the same."""

import asyncio
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from load import SOAK, Client, Load, request, tell, together
from serving_world import NOW, Arm, World, mint

from skyloom.serving.concurrency import ROUND_S, THREADS, Gradient, Turns
from skyloom.serving.deadlines import begin, seconds_left
from skyloom.serving.metrics import Metrics
from skyloom.serving.wire import Problem

FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}
KINDS = {"late": "good", "slow": "slow 20000"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, windowed=False)


@pytest.fixture
def key(world: World) -> str:
    key, stored = mint(["admin"])
    arms = {name: (Arm(1, world.package(0.25, kind, name), 10_000, "champion"),) for name, kind in KINDS.items()}
    world.publish(world.release(arms, (stored,)))
    return key


def test_at_five_times_its_capacity_it_answers_or_refuses_and_health_is_never_behind(
    world: World, key: str, launch: Any
) -> None:
    server = launch(world, key)
    wanted = 150 * SOAK
    load, healthy, neighbour = Load(), Load(), Load()

    def done() -> bool:
        return load.statuses[200] >= wanted and healthy.statuses[200] >= wanted

    slow, fast = request("POST", "/predict/slow", key, FLIGHT), request("POST", "/predict/late", key, FLIGHT)
    health, metrics = request("GET", "/health/live", key), request("GET", "/metrics", key)
    together(
        *(load.drive(Client(server.port), lambda: slow, done, rest_s=0.1) for _ in range(5 * 24)),
        *(healthy.drive(Client(server.port), lambda each=each: each, done) for each in (health, metrics)),
        neighbour.drive(Client(server.port), lambda: fast, done),
    )
    refused = [each for each in load.answers if each.status == 503]
    tell(f"{load.total} requests: {load.statuses}; health and metrics {healthy.statuses}; neighbour {neighbour.statuses}")
    assert (load.failures, healthy.failures, neighbour.failures) == ([], [], [])
    assert set(load.statuses) == {200, 503}
    assert all(int(each.headers["retry-after"]) >= 1 and "slow" in each.body["error"] for each in refused)
    assert set(healthy.statuses) == set(neighbour.statuses) == {200}
    assert server.end() == 0
    ids = sorted(each.body["id"] for each in load.answers if each.status == 200)
    assert sorted(each.id for each in world.receipts("slow")) == ids  # what was refused was not scored


def test_what_nobody_waits_for_any_more_is_never_begun(world: World, key: str, launch: Any) -> None:
    server = launch(world, key)
    gone, count = Load(), 100 * SOAK
    late = [request("POST", f"/predict/{name}", key, FLIGHT, x_request_timeout="0") for name in KINDS]
    together(
        *(
            gone.drive(Client(server.port), lambda each=each: each, lambda: gone.total >= count)
            for each in late
            for _ in "abcd"
        )
    )
    tell(f"{gone.total} requests past their deadline: {gone.statuses}")
    assert set(gone.statuses) == {504}
    assert server.ask("POST", "/predict/late", FLIGHT, {"grpc-timeout": "10S"})[0] == 200
    assert server.ask("POST", "/predict/late", FLIGHT, {"grpc-timeout": "soon"})[0] == 400
    assert server.end() == 0
    assert (len(world.receipts("late")), len(world.receipts("slow"))) == (1, 0)


def test_who_waits_in_vain_leaves_the_queue() -> None:
    """All threads are held; those behind have deadlines."""
    turns = Turns(Metrics(), 0.05)

    async def scenario() -> list[str]:
        ended: list[str] = []
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold() -> None:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

        def note() -> None:
            ended.append("run")

        holding = [asyncio.create_task(turns.aside("m", 0.001, hold)) for _ in range(THREADS)]
        await asyncio.sleep(0)

        async def with_deadline() -> None:
            begin(0.05)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await turns.aside("m", 0.001, note)

        await asyncio.gather(*(asyncio.create_task(with_deadline()) for _ in range(5)))
        gate.set()
        await asyncio.gather(*holding)
        await turns.aside("m", 0.001, note)
        return ended

    assert asyncio.run(scenario()) == ["run"]


def test_a_place_is_kept_while_a_body_is_read() -> None:
    """Whoever has one is not refused when its body has been read, however many have come meanwhile."""
    turns = Turns(Metrics(), 0.05)

    async def scenario() -> list[str]:
        await turns.aside("m", 0.001, str)  # the model is known now
        turns.lane("m", aside=True, took_s=0.001).gradient.limit = 2
        with turns.room("m"):
            with turns.room("m"), pytest.raises(Problem, match="as many requests as it can answer soon"), turns.room("m"):
                raise AssertionError("there was no third place")
            gate, loop = asyncio.Event(), asyncio.get_running_loop()
            hold = asyncio.run_coroutine_threadsafe
            other = asyncio.create_task(turns.aside("m", 0.001, lambda: hold(gate.wait(), loop).result()))
            await asyncio.sleep(0)
            with pytest.raises(Problem), turns.room("m"):
                raise AssertionError("one is under way, and one is kept")
        mine = await turns.aside("m", 0.001, str, "answered")
        gate.set()
        await other
        return [mine]

    assert asyncio.run(scenario()) == ["answered"]


def test_a_model_that_is_slow_only_sometimes_goes_to_threads(world: World, launch: Any) -> None:
    """Its golden row is quick, so that it begins on the event loop; three long answers there are enough."""
    key, stored = mint(["admin"])
    arms = (Arm(1, world.package(0.25, "lags"), 10_000, "champion"),)
    world.publish(world.release({"late": arms}, (stored,)))
    server = launch(world, key)
    lag = {**FLIGHT, "distance": 60.0}
    assert [server.ask("POST", "/predict/late", lag)[0] for _ in range(4)] == [200] * 4
    metrics = server.ask("GET", "/metrics")[1]
    assert 'skyloom_under_way{model="late",where="threads"}' in metrics


def test_work_begins_at_once_only_where_nothing_stands_against_it() -> None:
    turns = Turns(Metrics(), 10.0)

    async def scenario() -> None:
        lane = turns.begin("m", 0.001)
        assert lane is turns.lane("m", aside=False, took_s=0.001)
        assert lane is not None
        assert lane.under_way == 1
        lane.gradient.limit = 1.0
        with pytest.raises(Problem, match="as many requests as it can answer soon"):
            turns.begin("m", 0.001)
        assert turns.end(lane, time.perf_counter() - ROUND_S) >= ROUND_S
        assert lane.under_way == 0
        lane.gradient.limit = 10.0
        assert turns.begin("m", 0.001) is None  # this round is over
        waiting = asyncio.create_task(turns.here("m", 0.001, str))
        await waiting
        lane = turns.begin("m", 0.001)
        assert lane is not None
        turns.end(lane, time.perf_counter())

        async def with_deadline() -> None:
            begin(60.0)
            assert turns.begin("m", 0.001) is None

        await asyncio.create_task(with_deadline())

    asyncio.run(scenario())


def test_short_work_lets_others_in_between() -> None:
    turns, order = Turns(Metrics(), 10.0), list[str]()

    def work() -> None:
        order.append("work")
        until_s = time.perf_counter() + ROUND_S / 2
        while time.perf_counter() < until_s:
            pass

    async def other() -> None:
        for _ in range(4):
            await asyncio.sleep(0)
            order.append("other")

    async def scenario() -> None:
        works = [asyncio.create_task(turns.here("m", 0.001, work)) for _ in range(12)]
        await asyncio.gather(other(), *works)

    asyncio.run(scenario())
    assert order.count("work") == 12
    assert order.index("other") <= 4
    assert (
        max(
            len(run)
            for run in "".join("w" if each == "work" else "o" for each in order[: order.index("other") + 8]).split("o")
        )
        <= 6
    )


@given(
    st.floats(1e-5, 1.0),
    st.integers(1, 8),
    st.lists(st.tuples(st.floats(0, 10), st.floats(1e-6, 10)), min_size=30, max_size=60),
)
def test_the_limit_stays_within_bounds_whatever_is_observed(
    took_s: float, slots: int, seen: list[tuple[float, float]]
) -> None:
    limit = Gradient(slots, took_s, 0.05)
    for at, (waited_s, worked_s) in enumerate(seen):
        limit.observe(at * 0.02, waited_s=waited_s, took_s=worked_s, under_way=math.ceil(limit.limit))
        assert slots + 1 <= limit.limit <= 1_000


def test_rest_teaches_the_limit_nothing() -> None:
    limit = Gradient(1, 0.001, 0.05)
    before = limit.limit
    for at in range(1_000):
        limit.observe(at * 0.02, waited_s=0.0, took_s=0.001, under_way=1)
    assert limit.limit == before


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-request-timeout": "1.5", "grpc-timeout": "1m"}, 1.5),
        ({"grpc-timeout": "250m"}, 0.25),
        ({"grpc-timeout": "2H"}, 7200.0),
        ({"x-envoy-expected-rq-timeout-ms": "15"}, 0.015),
        ({}, None),
    ],
)
def test_deadlines_are_read_from_the_headers_of_others(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds_left(headers) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize("said", ["nan", "-1", "inf", "x", "1x"])
def test_what_is_no_duration_is_refused(said: str) -> None:
    with pytest.raises(Problem, match="is no duration"):
        seconds_left({"x-request-timeout": said})
    with pytest.raises(Problem, match="is no duration"):
        seconds_left({"grpc-timeout": said})
