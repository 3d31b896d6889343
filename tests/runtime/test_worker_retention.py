"""What the log forgets, and what becomes of an online store that is lost when it has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.runtime.test_worker import served_and_joined
from tests.runtime.worker_world import BY_ID, BY_WHO, SOURCE, START, World, contents, fill, project, put

from skyloom.features.offline.history import progress
from skyloom.features.spaces import source_position
from skyloom.kernel.errors import Conflict
from skyloom.kernel.units import DAY, HOUR
from skyloom.ports.log import NewBatch
from skyloom.runtime.worker import Erasure, Worker, slices
from skyloom.runtime.worker.retention import CONSUMER, Retention
from skyloom.spec.profile import Kept, Profile
from skyloom.stores.online.lmdb import LmdbOnline

TOPIC = "events/taps"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Any]:
    made = World(tmp_path)
    yield made
    made.close()


def drain(world: Any, *groups: Any) -> Worker:
    worker = Worker(world, project(*groups))
    worker.drain()
    return worker


def cut(world: Any, days: float = 0.001) -> int:
    """Let the log forget everything that it may; where it begins then."""
    world.profile, world.clock.at = Profile(retention=Kept(days=days)), START + DAY
    Retention(world).forget([(TOPIC, 0)])
    return world.log.start(TOPIC)


def lose(world: Any) -> None:
    """The online store, emptied behind everybody's back."""
    world.online.close()
    world.online = LmdbOnline(world.directory / f"online-{world.clock.at}", map_bytes=1 << 26)
    world.clock.at += 1


def state(world: Any, *groups: Any) -> dict[str, Any]:
    """Tiles and what is in the lake."""
    return {name: rows for name, rows in contents(world, *groups).items() if not name.startswith(("seen", "positions"))}


def test_the_log_forgets_what_is_old_and_in_the_lake_and_nothing_else(world: Any) -> None:
    fill(world, 4)
    assert cut(world) == 0
    drain(world, BY_WHO)
    assert world.log.committed(CONSUMER, TOPIC) == world.log.end(TOPIC) == 36
    put(world, [("new", START + 4 * HOUR, "u0", 1.0)], START + 4 * HOUR)
    assert cut(world, days=0) == 0
    assert cut(world) == 36
    assert [batch.first for batch in world.log.read(TOPIC, 0)] == [36]
    worker = Worker(world, project(BY_WHO))
    assert worker.lag().unfolded == 1
    worker.drain()
    assert contents(world, BY_WHO)["positions"][source_position(SOURCE.name)] == (37).to_bytes(8, "big")


def test_the_worker_looks_after_retention_from_time_to_time(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skyloom.runtime.worker.retention.EVERY_S", 0.0)
    fill(world, 2)
    world.profile, world.clock.at = Profile(retention=Kept(days=1)), START + 3 * DAY
    drain(world, BY_WHO)
    assert world.log.start(TOPIC) == world.log.end(TOPIC)


def test_the_gigabytes_of_a_topic_are_those_of_all_its_partitions(tmp_path: Path) -> None:
    kept: list[int] = []
    for partitions in (1, 3):
        world = World(tmp_path / str(partitions), partitions)
        fill(world, 12)
        drain(world, BY_WHO)
        world.profile = Profile(retention=Kept(days=0, gigabytes=1.5e-6))
        Retention(world).forget([(TOPIC, partition) for partition in range(partitions)])
        batches = [batch for each in range(partitions) for batch in world.log.read(TOPIC, 0, 10**6, each)]
        kept.append(sum(len(batch.payload) for batch in batches))
        world.close()
    assert 500 < kept[1] <= 1_500
    assert 500 < kept[0] <= 1_500


@pytest.mark.parametrize("kept", [0, 3])
def test_a_lost_store_is_filled_from_the_lake_where_the_log_was_cut(
    world: Any, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """All of the log is gone, or three batches of it are left that were folded, and one that was not."""
    monkeypatch.setattr(slices, "ROWS", 10)
    monkeypatch.setattr(slices, "_NARROWEST", 10)
    fill(world, 8)
    drain(world, BY_WHO)
    expected, seen = state(world, BY_WHO), progress(world.online, SOURCE.name)
    world.log.truncate(TOPIC, 72 - 9 * kept)
    lose(world)
    drain(world, BY_WHO)
    assert state(world, BY_WHO) == expected
    assert [column.tolist() for column in progress(world.online, SOURCE.name)] == [column.tolist() for column in seen]
    again = [("k7-1", START + 7 * HOUR, "u0", 5.0), ("dead-again", START, "u0", 5.0), ("more", START + 7 * HOUR, "u0", 2.0)]
    put(world, again, START + 7 * HOUR)
    drain(world, BY_WHO)
    rows = world.lake.read("events/taps").column("id").to_pylist()
    assert (rows.count("k7-1"), rows.count("dead-again"), rows.count("more")) == (1, 0, 1)
    for entity in ("u0", "u1", "u2"):
        for served, joined in served_and_joined(world, [BY_WHO], entity, START + 8 * HOUR):
            assert served == joined


def test_a_worker_killed_while_it_fills_a_store_goes_on_where_it_stood(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "ROWS", 10)
    fill(world, 8)
    drain(world, BY_WHO)
    expected = state(world, BY_WHO)
    world.log.truncate(TOPIC, 72)
    lose(world)
    for _ in range(3):
        Worker(world, project(BY_WHO)).step()
    drain(world, BY_WHO)
    assert state(world, BY_WHO) == expected


def test_a_group_declared_when_the_log_was_cut_is_built_from_the_lake(world: Any) -> None:
    fill(world, 8)
    drain(world, BY_WHO)
    world.log.truncate(TOPIC, 72)
    lose(world)
    Worker(world, project(BY_WHO)).step()
    drain(world, BY_WHO, BY_ID)
    for group, entity in ((BY_WHO, "u0"), (BY_ID, "k7-3")):
        for served, joined in served_and_joined(world, [group], entity, START + 8 * HOUR):
            assert served == joined
            assert served[0]


def test_what_is_asked_to_be_erased_waits_for_a_store_that_is_being_filled(world: Any) -> None:
    fill(world, 8)
    drain(world, BY_WHO)
    lose(world)
    erasure = Erasure("erasure_1", SOURCE.name, "who", ("u1",), (40,), "tester", START)
    world.log.append("erasures", [NewBatch(1, START, False, msgspec.msgpack.encode(erasure))])
    drain(world, BY_WHO)
    for entity in ("u0", "u1"):
        for served, joined in served_and_joined(world, [BY_WHO], entity, START + 8 * HOUR):
            assert served == joined


def test_a_store_that_is_lost_under_a_worker_is_a_conflict(world: Any) -> None:
    fill(world, 2)
    worker = drain(world, BY_WHO)
    with world.online.write() as writer:
        writer.delete("positions", source_position(SOURCE.name))
    put(world, [("x", START + 2 * HOUR, "u0", 1.0)], START + 2 * HOUR)
    with pytest.raises(Conflict, match="folded up to offset 0, not 18"):
        worker.step()
