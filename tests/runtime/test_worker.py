"""The worker on real stores: fenced, with dead letters apart, groups built and built again, subjects erased."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.runtime.worker_world import BY_ID, BY_WHO, SOURCE, START, World, contents, fill, group, project, put

from skyloom.features.offline.pit import Asked, by_offset, join
from skyloom.features.online.building import begin
from skyloom.features.online.lookup import OnlineFeatures
from skyloom.features.spaces import tiles_space
from skyloom.ingest.partitions import SourcePart
from skyloom.kernel.errors import Conflict, DataError, Transient
from skyloom.kernel.units import DAY, HOUR, MINUTE
from skyloom.ports.log import NewBatch
from skyloom.runtime.worker import Erasure, Worker, horizon_of
from skyloom.runtime.worker import worker as module


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Any]:
    made = World(tmp_path)
    yield made
    made.close()


def drain(world: Any, *groups: Any) -> Worker:
    worker = Worker(world, project(*groups))
    worker.drain()
    return worker


def lake(world: Any, table: str, column: str) -> list[Any]:
    return sorted(world.lake.read(table).column(column).to_pylist()) if world.lake.version(table) is not None else []


def served_and_joined(world: Any, groups: Any, entity: str, t: int) -> list[Any]:
    """What is served, and what the lake says, for one entity."""
    events = world.lake.read(f"events/{SOURCE.name}")
    features, pairs = OnlineFeatures(world.online, {each.name: each for each in groups}), []
    for each in groups:
        snapshot = features.read([(each.name, (entity,))], t)
        asked = Asked([pa.chunked_array([[entity]])], np.array([t]), np.array([snapshot.as_of[SOURCE.name]]))
        row = join(each, SOURCE, events, by_offset(events), asked)[0].tolist()
        pairs.append((list(snapshot.values[0]), [None if value != value else value for value in row]))
    return pairs


def test_of_two_workers_the_later_one_writes_and_the_other_learns_it(world: Any) -> None:
    fill(world)
    older = Worker(world, project(BY_WHO))
    assert older.step() > 0
    newer = Worker(world, project(BY_WHO))
    put(world, [("x", START, "u9", 1.0)], START)
    with pytest.raises(Conflict, match="another worker took over"):
        older.step()
    with pytest.raises(Conflict, match="another worker took over"):
        older.flush()
    newer.drain()
    assert len(lake(world, "events/taps", "id")) == len(set(lake(world, "events/taps", "id")))
    assert contents(world, BY_WHO)["positions"][b"source/taps"] == world.log.end("events/taps").to_bytes(8, "big")


def test_what_came_too_late_for_everything_is_a_dead_letter_and_in_no_feature(world: Any) -> None:
    fill(world)
    worker = drain(world, BY_WHO)
    assert horizon_of(project(BY_WHO), SOURCE.name) == HOUR + 5 * 60_000
    dead = world.lake.read("deadletter/taps").sort_by("_offset").to_pylist()
    assert [msgspec.json.decode(row["row"])["id"] for row in dead] == [f"dead{number}" for number in range(12)]
    assert {row["reason"] for row in dead} == {"at: older than everything kept"}
    assert worker.lag().dead == 12
    assert not [id for id in lake(world, "events/taps", "id") if id.startswith("dead")]
    assert len(lake(world, "quarantine/taps", "row")) == 12
    for t in (START + 11 * HOUR + 60_000, START + 12 * HOUR):
        for entity in ("u0", "u1", "u2"):
            for online, offline in served_and_joined(world, [BY_WHO], entity, t):
                assert online == offline


def test_imported_history_is_never_dead_and_comes_in_once_however_old(world: Any) -> None:
    old = [(f"old{number}", START - 90 * DAY + number, "u0", 1.0) for number in range(5)]
    put(world, old, START, imported=True)
    fill(world)
    drain(world, BY_WHO)
    put(world, [*old, ("older", START - 90 * DAY, "u0", 1.0)], START + 20 * HOUR, imported=True)
    drain(world, BY_WHO)
    ids = lake(world, "events/taps", "id")
    assert len(ids) == len(set(ids))
    assert {"old0", "old4", "older"} <= set(ids)
    assert len(lake(world, "quarantine/taps", "row")) == 12 + 5


def test_a_group_is_served_when_it_is_built_and_not_before(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skyloom.runtime.worker.slices.ROWS", 10)
    fill(world)
    drain(world, BY_WHO)
    worker = Worker(world, project(BY_WHO, BY_ID))
    t = START + 11 * HOUR + 60_000
    put(world, [("live", t, "u0", 7.0)], t)
    assert worker.step() > 0
    with pytest.raises(Transient, match="still being built"):
        OnlineFeatures(world.online, {"by_id": BY_ID}).read([("by_id", ("live",))], t)
    served_and_joined_before = served_and_joined(world, [BY_WHO], "u1", t)
    worker.drain()
    assert served_and_joined(world, [BY_WHO], "u1", t) == served_and_joined_before
    for entity in ("live", "k11-3", "k0-0", "dead3"):
        for online, offline in served_and_joined(world, [BY_ID], entity, t + 1):
            assert online == offline


def test_a_changed_definition_is_built_beside_the_old_one_that_serves_on(world: Any) -> None:
    fill(world)
    drain(world, BY_WHO)
    changed = group("by_who", "who", 3 * HOUR)
    both = project(BY_WHO)
    both.groups["by_who@new"] = changed
    Worker(world, both).drain()
    t = START + 11 * HOUR + 60_000
    for each in (BY_WHO, changed):
        for online, offline in served_and_joined(world, [each], "u1", t):
            assert online == offline
    assert tiles_space(BY_WHO) != tiles_space(changed)


def test_a_group_that_was_not_declared_for_a_while_is_built_anew(world: Any) -> None:
    fill(world, 4)
    drain(world, BY_WHO, BY_ID)
    put(world, [("between", START + 4 * HOUR, "u1", 5.0)], START + 4 * HOUR)
    drain(world, BY_WHO)
    drain(world, BY_WHO, BY_ID)
    for online, offline in served_and_joined(world, [BY_ID], "between", START + 4 * HOUR + 1):
        assert online == offline
        assert online[0] == 1.0


def test_building_again_mends_what_was_spoilt_while_it_serves(world: Any) -> None:
    fill(world)
    drain(world, BY_WHO)
    good = contents(world, BY_WHO)
    with world.online.write() as writer:
        writer.put(tiles_space(BY_WHO), b"su0", writer.get(tiles_space(BY_WHO), b"su1"))
        writer.put(tiles_space(BY_WHO), b"snobody", b"spoilt")
        begin(writer, BY_WHO, [SourcePart(SOURCE)])
    drain(world, BY_WHO)
    assert contents(world, BY_WHO) == good


def erase(world: Any, column: str, *values: str) -> None:
    erasure = Erasure(f"erasure_{column}", SOURCE.name, column, values, (world.log.end("events/taps"),), "tester", START)
    world.log.append("erasures", [NewBatch(1, START, False, msgspec.msgpack.encode(erasure))])


def test_an_erased_subject_is_in_no_table_and_no_feature_and_may_come_again(world: Any) -> None:
    fill(world)
    drain(world, BY_WHO, BY_ID)
    erase(world, "who", "u1", "u2")
    t = START + 11 * HOUR + 60_000
    put(world, [("again", t, "u1", 4.0)], t)
    drain(world, BY_WHO, BY_ID)
    kept = world.lake.read("events/taps").to_pylist()
    assert {row["who"] for row in kept} == {"u0", "u1"}
    assert [row["id"] for row in kept if row["who"] == "u1"] == ["again"]
    assert not lake(world, "deadletter/taps", "row")
    found = contents(world, BY_WHO, BY_ID)
    assert set(found[tiles_space(BY_WHO)]) == {b"su0", b"su1"}
    assert set(found[tiles_space(BY_ID)]) == {f"s{row['id']}".encode() for row in kept}
    assert world.lake.note("events/taps", world.lake.version("events/taps") - 1) == {"erasure": "erasure_who"}
    for entity in ("u0", "u1", "u2"):
        for online, offline in served_and_joined(world, [BY_WHO], entity, t + 1):
            assert online == offline


def test_an_erased_subject_is_not_in_what_was_refused_before_either(world: Any) -> None:
    drain(world, BY_WHO)
    rows = [(reason, json.dumps({"who": who}), "stream", START) for who, reason in (("u1", "no id"), ("u0", "no id"))]
    world.log.append("quarantine/taps", [NewBatch(2, START, False, msgspec.msgpack.encode(rows))])
    erase(world, "who", "u1")
    drain(world, BY_WHO)
    assert lake(world, "quarantine/taps", "row") == ['{"who": "u0"}']


def test_a_sum_that_no_number_holds_is_an_error_to_who_reads_it_and_stops_nobody(world: Any) -> None:
    put(world, [*((f"k{n}", START, "u1", 2.0**53) for n in range(600)), ("one", START, "u2", 1e300)], START + 1)
    put(world, [("ok", START + 2, "u0", 1.5), ("late", START + 66 * MINUTE, "u1", 2.5)], START + 66 * MINUTE)
    drain(world, BY_WHO)
    features = OnlineFeatures(world.online, {"by_who": BY_WHO})
    for entity in ("u1", "u2"):
        with pytest.raises(DataError, match="grew beyond 62 bits"):
            features.read([("by_who", (entity,))], START + 4)
    for entity, t, total in (("u0", START + 4, 1.5), ("u1", START + 66 * MINUTE + 1, 2.5)):
        [(online, offline)] = served_and_joined(world, [BY_WHO], entity, t)
        assert online == offline == [1.0, total, total]
    asked = Asked([pa.chunked_array([["u2"]])], np.array([START + 4]), np.array([700]))
    events = world.lake.read(f"events/{SOURCE.name}")
    with pytest.raises(DataError, match="a sum of x grew beyond 62 bits"):
        join(BY_WHO, SOURCE, events, by_offset(events), asked)


def test_one_deleted_event_is_taken_out_of_what_it_was_in(world: Any) -> None:
    fill(world)
    drain(world, BY_WHO)
    t = START + 11 * HOUR + 60_000
    before = served_and_joined(world, [BY_WHO], "u2", t)[0][0]
    erase(world, "id", "k11-5")
    drain(world, BY_WHO)
    online, offline = served_and_joined(world, [BY_WHO], "u2", t)[0]
    assert online == offline
    assert (before[0] - online[0], before[1] - online[1]) == (1.0, 1.25)


def test_a_lost_online_store_is_filled_again_without_what_was_erased_and_the_lake_stays_as_it_is(world: Any) -> None:
    fill(world)
    put(world, [("imported", START - 90 * DAY, "u0", 1.0)], START + 20 * HOUR, imported=True)
    drain(world, BY_WHO)
    erase(world, "who", "u1")
    drain(world, BY_WHO)
    before = contents(world, BY_WHO)
    for space in [name for name in before if name.startswith(("tiles", "seen", "verdicts", "positions"))]:
        world.online.drop(space)
    world.online.drop("progress/taps")
    drain(world, BY_WHO)
    after = contents(world, BY_WHO)
    assert {name: rows for name, rows in after.items() if "/taps" in name and not name.startswith("seen")} == {
        name: rows for name, rows in before.items() if "/taps" in name and not name.startswith("seen")
    }
    assert after[tiles_space(BY_WHO)] == before[tiles_space(BY_WHO)]


def test_what_waits_is_flushed_for_its_number_and_its_age(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world)
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    worker = Worker(world, project(BY_WHO))
    worker.step()
    assert worker.lag().unsunk == 0
    monkeypatch.setattr(module, "MAX_WAITING", 50_000)
    put(world, [("one", START + 12 * HOUR, "u0", 1.0)], START + 12 * HOUR)
    worker.step()
    assert worker.lag().unsunk == 1
    monkeypatch.setattr(module, "MAX_AGE_S", 0.0)
    worker.step()
    assert worker.lag().unsunk == 0
