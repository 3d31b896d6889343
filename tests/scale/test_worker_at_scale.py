"""The same worker on a real Kafka and a real Redis: the embedded run's values, and the fault-free run's bytes, whatever
dies, stands still or is emptied meanwhile."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.runtime.worker_world import SOURCE, START, World, contents, fill, project, put
from tests.scale.scale_world import GROUPS, Place, filled, opened, start, stopped, work, work_and_die, work_and_stop
from tests.services.redis import RedisServer

from skyloom.features.online.lookup import OnlineFeatures
from skyloom.kernel.errors import Conflict
from skyloom.kernel.units import HOUR
from skyloom.runtime.worker import Worker

pytestmark = pytest.mark.xdist_group("kafka")

BATCHES = 8
PATIENCE_S = 60.0
NewPlace = Callable[..., Place]


@pytest.fixture
def new_place(kafka_broker: Any, redis_server: RedisServer, tmp_path: Path) -> NewPlace:
    """A world nobody has used, with a stream in its log."""

    def make(server: RedisServer = redis_server) -> Place:
        name = f"t{uuid4().hex}"
        place = Place(str(tmp_path / name), f"kafka://{kafka_broker.servers}/{name}", f"{server.url}?prefix={name}")
        filled(place, BATCHES)
        return place

    return make


def end_of(place: Place) -> dict[str, Any]:
    with opened(place) as world:
        return contents(world, *GROUPS)


def undisturbed(place: Place) -> tuple[dict[str, Any], int]:
    """What a worker leaves that nobody disturbs, and at how many points it writes."""
    points = 0

    def count(number: int) -> None:
        nonlocal points
        points = number

    work(place, count)
    return end_of(place), points


def read(world: Any) -> list[Any]:
    """What is served to some requests."""
    features = OnlineFeatures(world.online, {each.name: each for each in GROUPS})
    asked = [("by_who", ("u0",)), ("by_who", ("u1",)), ("by_id", (f"k{BATCHES - 1}-2",)), ("by_id", ("nobody",))]
    return [features.read(asked, START + BATCHES * HOUR + at).values for at in (0, 60_000, HOUR)]


def test_values_and_rows_are_those_of_the_embedded_stores(new_place: NewPlace, tmp_path: Path) -> None:
    place, embedded = new_place(), World(tmp_path / "embedded")
    fill(embedded, BATCHES)
    Worker(embedded, project(*GROUPS)).drain()  # type: ignore[arg-type]
    work(place)
    with opened(place) as world:
        assert read(world) == read(embedded)
        for table in ("events/taps", "quarantine/taps", "deadletter/taps"):
            assert rows_of(world, table) == rows_of(embedded, table)
            assert rows_of(world, table)
        lag = Worker(world, project(*GROUPS)).lag()
        assert (lag.unfolded, lag.unsunk, lag.dead) == (0, 0, BATCHES)
        put(world, [("a", START, "u0", 1.0), ("b", START, "u0", 1.0)], START + BATCHES * HOUR)
        assert Worker(world, project(*GROUPS)).lag().unfolded == 2
    embedded.close()


def rows_of(world: Any, table: str) -> list[str]:
    names = [name for name in world.lake.read(table).column_names if name in ("id", "at", "who", "x", "reason")]
    return sorted(map(repr, world.lake.read(table).select(names).to_pylist()))


def test_workers_killed_at_random_moments_leave_the_same_bytes(new_place: NewPlace) -> None:
    expected, points = undisturbed(new_place())
    chosen = random.Random(11)
    for killed in range(2):
        place = new_place()
        for before in (0, 1):
            process = start(work_and_die, place, chosen.randint(2, points // 2), before)
            process.join(PATIENCE_S)
            assert process.exitcode == -signal.SIGKILL
        work(place)
        assert end_of(place) == expected, f"world {killed}"


@pytest.mark.parametrize("before", [0, 1])
def test_a_worker_that_stood_still_while_another_went_on_spoils_nothing(new_place: NewPlace, before: int) -> None:
    expected, _ = undisturbed(new_place())
    place = new_place()
    zombie = start(work_and_stop, place, 6, before)
    until(lambda: stopped(zombie.pid))
    work(place)
    assert end_of(place) == expected
    os.kill(zombie.pid, signal.SIGCONT)
    zombie.join(PATIENCE_S)
    assert zombie.exitcode == 0
    assert end_of(place) == expected


def test_two_workers_at_once_leave_the_same_bytes(new_place: NewPlace) -> None:
    expected, _ = undisturbed(new_place())
    place = new_place()
    other = start(work_and_die, place, 10**9, 0)
    work(place)
    other.join(PATIENCE_S)
    assert other.exitcode == 0
    assert end_of(place) == expected


def test_partitions_that_move_between_workers_end_in_the_same_bytes(new_place: NewPlace) -> None:
    """Each worker goes on from the stored positions; what the one before had folded and not sunk is not lost."""
    expected, _ = undisturbed(new_place())
    place = new_place()
    for steps in (3, 1, 2, 4, 1):
        with opened(place) as world:
            worker = Worker(world, project(*GROUPS))
            for _ in range(steps):
                worker.step()
    work(place)
    assert end_of(place) == expected


def test_a_redis_that_restarts_empty_is_filled_again_to_the_same_bytes(
    new_place: NewPlace, new_redis: Callable[..., RedisServer]
) -> None:
    expected, _ = undisturbed(new_place())
    server = new_redis()
    place = new_place(server)
    work(place, lambda number: server.restart_empty() if number in (5, 12) else None)
    assert end_of(place) == expected
    with opened(place) as world:
        idle = Worker(world, project(*GROUPS))
        idle.require()
        server.flush()
        with pytest.raises(Conflict, match="the online store was lost"):
            idle.require()
    work(place)
    assert end_of(place) == expected


def test_a_redis_that_restarts_empty_when_kafka_has_forgotten_is_filled_from_the_lake(
    new_place: NewPlace, new_redis: Callable[..., RedisServer]
) -> None:
    expected, _ = undisturbed(new_place())
    server = new_redis()
    place = new_place(server)
    work(place)
    with opened(place) as world:
        topic = f"events/{SOURCE.name}"
        world.log.truncate(topic, world.log.end(topic))
        assert world.log.read(topic, 0) == []
        served = read(world)
    server.flush()
    work(place)
    found = end_of(place)
    kept = [name for name in expected if not name.startswith(("seen", "positions", "verdicts"))]
    assert {name: found[name] for name in kept} == {name: expected[name] for name in kept}
    with opened(place) as world:
        assert read(world) == served
        put(world, [(f"k{BATCHES - 1}-1", START + BATCHES * HOUR, "u0", 9.0)], START + BATCHES * HOUR)
    work(place)
    with opened(place) as world:
        assert read(world) == served


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
