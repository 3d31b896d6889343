"""Several partitions and several workers: shards dealt out, handed over, taken from the dead; the stores hold what one
worker alone would have left."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.monitoring.test_outcomes import MODEL, receipt
from tests.runtime.worker_world import BY_ID, BY_WHO, SOURCE, START, World, contents, fill, project, put

from skyloom.features.offline.history import Requests, Wanted, features_of, rules_of
from skyloom.features.online.lookup import OnlineFeatures, Snapshot
from skyloom.ingest.partitions import parts_of
from skyloom.ingest.sink import events_topic
from skyloom.kernel.errors import Conflict
from skyloom.kernel.units import HOUR
from skyloom.monitoring.outcomes import join_predictions, read_counts
from skyloom.ports.log import NewBatch
from skyloom.runtime.worker import Erasure, Member, Worker, release, take
from skyloom.runtime.worker.expiry import Expiry
from skyloom.runtime.worker.shards import shards_of
from skyloom.spec.profile import Stream

PARTITIONS = 3
DEAD_S = Stream().patience
PROJECT = project(BY_WHO, BY_ID)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    made: list[World] = []

    def world(name: str, partitions: int = PARTITIONS) -> World:
        made.append(World(tmp_path / name, partitions))
        return made[-1]

    yield world
    for each in made:
        each.close()


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Process:
    """What the process of a worker does, a look at a time: beats, works on what is dealt to it, gives up what is not."""

    def __init__(self, world: Any, name: str, time: Time) -> None:
        self.world, self.member = world, Member(world.online, name, PARTITIONS, DEAD_S, time)
        self.worker: Worker | None = None

    def look(self) -> None:
        try:
            self._look()
        except Conflict:  # it was thought to be dead: it begins again
            self.worker = None
            self._look()

    def _look(self) -> None:
        wants_all = self.worker is not None and self.worker.wants_all
        due = self.member.due(wants_all=wants_all)
        if self.worker is not None and due != self.worker.shards:
            self.worker.flush()
            self.worker.release()
            self.worker = None
        if self.worker is None and due:
            self.worker = Worker(self.world, PROJECT, take(self.world.online, self.member.name, sorted(due)))

    def step(self) -> int:
        try:
            return 0 if self.worker is None else self.worker.step()
        except Conflict:
            self.worker = None
            return 1

    @property
    def shards(self) -> set[int]:
        return set() if self.worker is None else set(self.worker.shards)


def settled(*processes: Process) -> None:
    """Until nobody has anything to do."""
    for _ in range(200):
        for each in processes:
            each.look()
        if not sum(each.step() for each in processes) and not any(p.worker and p.worker.wants_all for p in processes):
            break
    for each in processes:
        if each.worker is not None:
            each.worker.drain()


def alone(world: Any, feed: Callable[[Any], None]) -> dict[str, Any]:
    """What one worker leaves."""
    feed(world)
    Worker(world, PROJECT).drain()
    return left(world)


def left(world: Any) -> dict[str, Any]:
    """What answers, training sets and people depend on. Of the keys seen, when some were forgotten is a matter of chance."""
    found = contents(world, BY_WHO, BY_ID)
    found["positions"] = {k: v for k, v in found["positions"].items() if k.startswith((b"source", b"group", b"build"))}
    return {name: rows for name, rows in found.items() if not name.startswith(("seen", "verdicts"))}


def test_events_lie_in_the_partition_of_their_key_and_are_found_once(make: Any) -> None:
    one = alone(make("one", 1), fill)
    world = make("three")
    three = alone(world, fill)
    assert shards_of(world.log, PROJECT) == PARTITIONS
    assert {row["_offset"] % PARTITIONS for row in three["events/taps"]} == {0, 1, 2}
    for table in ("events/taps", "quarantine/taps", "deadletter/taps"):
        assert sorted(map(told, one[table])) == sorted(map(told, three[table]))
    t = START + 11 * HOUR + 60_000
    assert None not in read(world, "u1", t).values[0]
    assert world.log.committed("worker", events_topic("taps"), 2) == world.log.end(events_topic("taps"), 2)


def told(row: dict[str, Any]) -> Any:
    """A row of the lake without where it stood in the log."""
    event = msgspec.json.decode(row["row"]) if "row" in row else row
    return [str(event[name]) for name in ("id", "who", "x")]


def read(world: Any, who: str, t: int) -> Snapshot:
    return OnlineFeatures(world.online, {"by_who": BY_WHO}).read([("by_who", (who,))], t)


def test_what_is_served_from_several_partitions_is_what_the_lake_says(make: Any) -> None:
    world, answers, t = make("three"), [], START + 3 * HOUR
    for number in range(4):
        fill_one(world, number)
        worker = Worker(world, PROJECT)
        for line in worker._sources:
            line.step()
            for who in ("u0", "u1", "u2"):
                found = OnlineFeatures(world.online, {"by_who": BY_WHO}).read([("by_who", (who,))], t)
                answers.append((who, found.as_of, list(found.values[0])))
        worker.drain()
    assert len({tuple(sorted(as_of.items())) for _, as_of, _ in answers}) > 8
    rows = pa.table({"who": [who for who, _, _ in answers]})
    requests = Requests(rows, np.full(len(answers), t), [as_of for _, as_of, _ in answers])
    rules = rules_of("as_available", SOURCE, requests, world.online)
    [found] = features_of(SOURCE, [Wanted(BY_WHO, ("who",))], requests, rules, world.lake)
    joined = [[None if value != value else value for value in row] for row in found.tolist()]
    assert joined == [values for _, _, values in answers]


def fill_one(world: Any, number: int) -> None:
    now = START + number * HOUR
    put(world, [(f"k{number}-{i}", now + i, f"u{i % 3}", i / 4) for i in range(9)], now + 10)


@pytest.mark.parametrize("seed", range(6))
def test_shards_that_move_leave_what_one_worker_leaves(make: Any, seed: int) -> None:
    """Workers come, go, are killed and stand still at random; partitions move between them under the stream."""
    chance, time = random.Random(seed), Time()
    expected = alone(make("alone"), fill)
    world = make("shared")
    processes, zombies, names = [Process(world, "a", time)], list[Process](), iter("bcdefghijklmnop")
    for number in range(12):
        now = START + number * HOUR
        rows = [(f"k{number}-{i}", now + i, f"u{i % 3}", i / 4) for i in range(6)]
        rows += [(f"k{number}-0", now, "u0", 0.0), (f"late{number}", now - HOUR, "u1", 2.5)]
        put(world, [*rows, (f"dead{number}", now - 5 * HOUR, "u2", 9.0)], now + 10)
        event = chance.choice(["join", "leave", "kill", "stand still", "work", "work"])
        if event == "join" and len(processes) < 4:
            processes.append(Process(world, next(names), time))
        elif event in ("kill", "stand still") and len(processes) > 1:
            gone = processes.pop(chance.randrange(len(processes)))
            if event == "stand still":
                zombies.append(gone)
        elif event == "leave" and len(processes) > 1:
            gone = processes.pop(chance.randrange(len(processes)))
            gone.member.leave()
            if gone.worker is not None:
                gone.worker.flush()
                gone.worker.release()
        for _ in range(chance.randrange(6)):
            each = chance.choice(processes)
            each.look()
            time.now += chance.choice([0.5, 0.5, DEAD_S / 3])
            each.step()
            if each.worker is not None and chance.random() < 0.2:
                each.worker.flush()
    time.now += DEAD_S
    for _ in range(3):
        for each in processes:
            each.look()
        time.now += DEAD_S / 2
    settled(*processes)
    for zombie in zombies:
        if zombie.worker is not None and zombie.shards:
            put(world, [(f"z{seed}", START, "u9", 1.0)], START)
            with pytest.raises(Conflict):
                zombie.worker.require()
    assert set.union(*(each.shards for each in processes)) == set(range(PARTITIONS))
    if not any(zombie.shards for zombie in zombies):
        assert left(world) == expected


def test_two_workers_share_and_one_takes_all_when_the_other_is_dead(make: Any) -> None:
    world, time = make("shared"), Time()
    one, other = Process(world, "one", time), Process(world, "other", time)
    one.look()
    assert one.shards == {0, 1, 2}
    other.look()
    assert other.shards == set(), "what a living worker holds is not taken"
    one.look()
    other.look()
    one.look()
    assert (one.shards, other.shards) == ({0, 2}, {1})
    fill(world)
    settled(one, other)
    one.look()
    assert one.step() == other.step() == 0
    time.now += DEAD_S - 1
    one.look()
    assert one.shards == {0, 2}
    time.now += 1
    one.look()
    assert one.shards == {0, 1, 2}
    fill_one(world, 20)
    settled(one)
    with pytest.raises(Conflict, match="another worker took over"):
        other.worker.require()  # type: ignore[union-attr]
    fill(make("alone"))


def test_who_has_no_time_to_look_but_beats_is_alive(make: Any) -> None:
    world, time = make("shared"), Time()
    one, other = Process(world, "one", time), Process(world, "other", time)
    for _ in range(2):
        one.look()
        other.look()

    def between() -> None:
        time.now += DEAD_S / 2
        other.member.beat()
        one.look()

    for number in range(4):
        fill_one(world, number)
        other.worker.drain(between)  # type: ignore[union-attr]
    assert time.now >= 2 * DEAD_S
    other.look()
    assert (one.shards, other.shards) == ({0, 2}, {1})


def test_a_worker_that_is_begun_again_has_its_shards_at_once(make: Any) -> None:
    world, time = make("shared"), Time()
    one, other = Process(world, "one", time), Process(world, "other", time)
    for _ in range(2):
        one.look()
        other.look()
    again = Process(world, "other", time)
    again.look()
    assert again.shards == other.shards == {1}
    put(world, [(f"k{i}", START, "u0", 1.0) for i in range(20)], START)
    assert again.step() > 0
    with pytest.raises(Conflict):
        other.worker.step()  # type: ignore[union-attr]


def test_who_leaves_frees_its_shards_at_once(make: Any) -> None:
    world, time = make("shared"), Time()
    one, other = Process(world, "one", time), Process(world, "other", time)
    for _ in range(2):
        one.look()
        other.look()
    other.member.leave()
    other.worker.release()  # type: ignore[union-attr]
    one.look()
    assert one.shards == {0, 1, 2}


def test_an_erasure_is_carried_out_by_one_worker_that_has_every_shard(make: Any) -> None:
    def feed(world: Any) -> None:
        fill(world)
        ends = tuple(p.position(world.log.end(events_topic("taps"), p.partition)) for p in parts_of(SOURCE, PARTITIONS))
        asked = Erasure("erasure_1", SOURCE.name, "who", ("u1",), ends, "tester", START)
        world.log.append("erasures", [NewBatch(1, START, False, msgspec.msgpack.encode(asked))])

    expected = alone(make("alone"), feed)
    world, time = make("shared"), Time()
    one, other = Process(world, "one", time), Process(world, "other", time)
    for _ in range(2):
        one.look()
        other.look()
    assert one.shards
    assert other.shards
    feed(world)
    settled(one, other)
    settled(one, other)
    assert one.shards
    assert other.shards, "afterwards the work is shared again"
    assert left(world) == expected
    assert not [row for row in expected["events/taps"] if row["who"] == "u1"]


def test_a_group_is_built_again_from_every_partition_by_two_workers(make: Any) -> None:
    from skyloom.features.online.building import begin

    expected = alone(make("alone"), fill)
    world, time = make("shared"), Time()
    one, other = Process(world, "one", time), Process(world, "other", time)
    for _ in range(2):
        one.look()
        other.look()
    fill(world)
    settled(one, other)
    with world.online.write() as writer:
        begin(writer, BY_WHO, parts_of(SOURCE, PARTITIONS))
    settled(one, other)
    settled(one, other)
    assert left(world) == expected


def test_a_lost_store_is_filled_again_partition_by_partition(make: Any) -> None:
    from skyloom.stores.online.lmdb import LmdbOnline

    world = make("lost")
    expected = alone(world, fill)
    topic = events_topic(SOURCE.name)
    world.log.retain(topic, now_ms=START + 100 * HOUR, max_age_ms=HOUR, partition=0)
    world.log.retain(topic, now_ms=START + 100 * HOUR, max_age_ms=HOUR, partition=2)
    assert world.log.start(topic, 0) > 0 == world.log.start(topic, 1)
    world.online.close()
    world.online = LmdbOnline(world.directory / "online-2", map_bytes=1 << 26)
    Worker(world, PROJECT).drain()
    kept = ("tiles", "events", "deadletter", "quarantine")
    found = left(world)
    assert {k: found[k] for k in found if k.startswith(kept)} == {k: expected[k] for k in expected if k.startswith(kept)}


def test_a_lease_that_was_released_may_be_taken_and_not_be_released_twice(make: Any) -> None:
    world = make("leases")
    mine = take(world.online, "one", [0, 1])
    release(mine)
    theirs = take(world.online, "two", [1])
    with pytest.raises(Conflict, match=r"epoch 1 \(one\); the newest is epoch 3 \(two\)"):
        mine[1].drop("any")
    with theirs[0].write() as writer:
        writer.put("any", b"k", b"v")


def test_predictions_expire_only_when_labels_of_every_partition_are_joined(make: Any) -> None:
    """A worker far behind with one partition of labels does not make predictions expire that have theirs in it."""
    world = make("labels")
    fill(world, 2)
    parts = parts_of(SOURCE, PARTITIONS)
    expiry, worker = Expiry(world.log, MODEL, parts), Worker(world, PROJECT, take(world.online, "one", [0, 1]))
    with world.online.write() as writer:
        join_predictions(writer, MODEL, [receipt(1, "k1", at_ms=0)])
    expiry.passed(START)
    worker.drain()
    with world.online.write() as writer:
        assert not expiry.is_due(writer)
        expiry.sweep(writer)
        assert read_counts(writer, MODEL.name).expired == 0
    fill_one(world, 3)
    expiry.passed(START + HOUR)  # what is due is reached, however much comes in
    Worker(world, PROJECT, take(world.online, "two", [2])).drain()
    worker.drain()
    with world.online.write() as writer:
        assert expiry.is_due(writer)
        expiry.sweep(writer)
        assert read_counts(writer, MODEL.name).expired == 1
        assert not expiry.is_due(writer)
