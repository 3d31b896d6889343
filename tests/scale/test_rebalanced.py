"""Workers as processes that share the four partitions of a source in Kafka, under a stream: some come, go, are killed or
stand still. What they leave in Redis and in the lake is what one worker leaves that nobody disturbs."""

import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from tests.services.redis import RedisServer

from skyloom.features.online.lookup import OnlineFeatures
from skyloom.features.spaces import position, source_position, tiles_space
from skyloom.ingest.partitions import Appender, pack_rows
from skyloom.ingest.sink import events_topic
from skyloom.kernel.units import DAY, HOUR, MINUTE
from skyloom.platform import Platform, open_platform
from skyloom.runtime.applying import apply
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import applied
from skyloom.runtime.worker import source_parts
from skyloom.runtime.worker.fence import lease_of

pytestmark = pytest.mark.xdist_group("kafka")

PARTITIONS, PATIENCE_S = 4, 60.0

TAKEN_OVER = re.compile("another worker took over|somebody else has written")
"""What a worker learns that stood still: from a lease, or from Redis when it stood still in a transaction."""

PROJECT = """
import skyloom as sky


class Tap(sky.Event):
    id: str = sky.key()
    at: sky.Timestamp = sky.time()
    who: str
    x: float = sky.field(precision=2)


taps = sky.Source(Tap, stream="taps")

by_who = sky.Features(
    taps,
    by="who",
    lateness="30m",
    taps=sky.count(over=["10m", "1h"]),
    x=sky.stddev("x", over=["1h"]),
    high=sky.max("x", over=["1h"]),
    newest=sky.last("x", over=["1h"]),
    ids=sky.distinct("id", over=["1h"]),
)
"""

SETTINGS = """
[shared]
log = "{log}"
online = "{online}"
partitions = 4
stream = {{ patience = 2 }}

[alone]
log = "{log}"
"""


class World:
    """A project whose workers are processes, under a stream; and, once that has ended, one worker alone that reads the same
    log, with an embedded online store and a lake of its own."""

    def __init__(self, directory: Path, log: str, server: RedisServer) -> None:
        self.directory, self.server = directory, server
        self._settings = SETTINGS.format(log=log, online=server.url)
        self.shared = self._open("shared")
        self.stream = Stream(self.shared)
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def _open(self, profile: str) -> Platform:
        directory = self.directory / profile
        directory.mkdir(parents=True)
        (directory / "taps.py").write_text(PROJECT)
        (directory / "skyloom.toml").write_text(self._settings)
        platform = open_platform(directory, profile)
        apply(platform)
        return platform

    def begin(self, name: str) -> None:
        words = [sys.executable, "-m", "skyloom.runtime.work", str(self.shared.directory), "shared", name]
        with self.said_by(name).open("ab") as log:
            self._workers[name] = subprocess.Popen(words, stderr=log)

    def said_by(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def tell(self, name: str, number: int) -> None:
        self._workers[name].send_signal(number)

    def ended(self, name: str) -> int:
        return self._workers.pop(name).wait(PATIENCE_S)

    def owners(self) -> list[str]:
        """The name of the owner of each shard; empty for none."""
        with self.shared.online.read() as view:
            leases = [lease_of(view, shard) for shard in range(PARTITIONS)]
        return ["" if lease is None else lease.owner.rpartition("/")[2] for lease in leases]

    def divided(self, *names: str) -> None:
        """Return when each of the named has its shards, and nobody else has any."""
        dealt = [names[shard % len(names)] for shard in range(PARTITIONS)]
        until(lambda: self.owners() == dealt, f"{dealt}")

    def in_the_middle(self, name: str) -> None:
        """Return when a worker has folded rows that are not in the lake yet."""
        source = applied(self.shared.metadata).project.sources["taps"]
        mine = [part for part in source_parts(self.shared.log, source) if self.owners()[part.partition] == name]
        assert mine

        def folded() -> list[int]:
            with self.shared.online.read() as view:
                return [position(view, source_position(part.place)) or 0 for part in mine]

        before, topic = folded(), events_topic("taps")
        until(lambda: all(now > at for now, at in zip(folded(), before, strict=True)), f"{name} folds nothing")
        applications = [f"events/{part.partition}" if part.partition else "events" for part in mine]
        sunk = [self.shared.lake.position(topic, app) or 0 for app in applications]
        assert any(at > lake for at, lake in zip(folded(), sunk, strict=True))

    def settle(self) -> None:
        """End the stream, and return when all of it is worked on."""
        self.stream.stop()
        settle(self.shared, applied(self.shared.metadata).project)

    def alone(self) -> Platform:
        platform = self._open("alone")
        settle(platform, applied(platform.metadata).project)
        return platform

    def close(self) -> None:
        self.stream.stop()
        for process in self._workers.values():
            process.kill()
            process.wait()
        self.shared.log.close()
        self.shared.online.close()


class Stream:
    """Events from a thread until `stop`: some repeat earlier ones, some are late, some too late for everything."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._random = platform, random.Random(5)
        self._source = applied(platform.metadata).project.sources["taps"]
        self._appender, self._now, self._number = Appender(platform.log, self._source), 17_000 * DAY, 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped.wait(0.1):  # a stream, and no backlog
            self._send()

    def _send(self) -> None:
        chance, self._now = self._random, self._now + MINUTE
        rows = [self._row(number, self._now + number % 40) for number in range(self._number, self._number + 40)]
        self._number += len(rows)
        rows += [self._row(max(0, self._number - chance.randrange(1, 900)), self._now + chance.randrange(99)) for _ in "abc"]
        rows += [(f"late-{self._number}", self._now - 50 * MINUTE, "u1", 2.5)]
        rows += [(f"dead-{self._number}", self._now - 5 * HOUR, "u2", 9.0)]
        self._appender.append(pack_rows(rows, self._source, PARTITIONS), self._now + 100, imported=False)

    def _row(self, number: int, at: int) -> tuple[Any, ...]:
        return (f"k{number}", at, f"u{number % 7}", number % 100 / 4)


@pytest.fixture
def world(kafka_broker: Any, new_redis: Callable[..., RedisServer], tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, f"kafka://{kafka_broker.servers}/t{uuid4().hex}", new_redis())
    yield made
    made.close()


def until(done: Callable[[], bool], why: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"waited for a minute: {why}"
        time.sleep(0.02)


def left(platform: Platform) -> dict[str, Any]:
    """Tiles byte for byte, rows of the lake with the offsets that they have in the source."""
    groups = applied(platform.metadata).project.groups
    with platform.online.read() as view:
        found: dict[str, Any] = {name: dict(view.scan(tiles_space(group))) for name, group in groups.items()}
    events = platform.lake.read(events_topic("taps")).sort_by("_offset")
    found["events"] = events.select(["id", "at", "who", "x", "_offset"]).to_pylist()
    for kind in ("quarantine", "deadletter"):
        rows = platform.lake.read(f"{kind}/taps").to_pylist()
        found[kind] = sorted((row["reason"], event["id"], event["at"]) for row in rows for event in [told(row)])
    return found


def told(row: dict[str, Any]) -> Any:
    return msgspec.json.decode(row["row"])


def is_what_one_worker_leaves(world: World) -> None:
    alone = world.alone()
    expected, found = left(alone), left(world.shared)
    assert {name: len(rows) for name, rows in found.items()} == {name: len(rows) for name, rows in expected.items()}
    assert found == expected
    assert all(len(rows) > 3 for rows in expected.values())
    assert {row["_offset"] % PARTITIONS for row in expected["events"]} == set(range(PARTITIONS))
    groups, newest = applied(alone.metadata).project.groups, max(row["at"] for row in expected["events"])
    asked = [("by_who", (f"u{number}",)) for number in range(8)]
    served = [OnlineFeatures(each.online, groups).read(asked, millis(newest)) for each in (alone, world.shared)]
    assert served[0].values == served[1].values
    assert served[0].as_of == served[1].as_of
    assert set(served[0].as_of) == {f"taps/{partition}" for partition in range(PARTITIONS)}
    alone.log.close()
    alone.online.close()


def millis(moment: Any) -> int:
    return int(moment.timestamp() * 1_000)


def test_partitions_that_move_between_processes_lose_and_double_nothing(world: World) -> None:
    world.begin("1")
    world.divided("1")
    world.begin("2")
    world.divided("1", "2")
    world.begin("3")
    world.divided("1", "2", "3")
    world.in_the_middle("2")
    world.tell("2", signal.SIGKILL)
    assert world.ended("2") == -signal.SIGKILL
    world.divided("1", "3")
    world.begin("4")
    world.divided("1", "3", "4")
    world.in_the_middle("3")
    world.tell("3", signal.SIGSTOP)
    world.divided("1", "4")
    world.tell("3", signal.SIGCONT)
    world.divided("1", "3", "4")
    assert TAKEN_OVER.search(world.said_by("3").read_text())
    world.tell("1", signal.SIGTERM)
    assert world.ended("1") == 0
    world.divided("3", "4")
    world.in_the_middle("4")
    world.settle()
    for name in ("3", "4"):
        world.tell(name, signal.SIGTERM)
        assert world.ended(name) == 0
    assert world.owners() == ["", "", "", ""]
    is_what_one_worker_leaves(world)


def test_a_redis_that_restarts_empty_is_filled_by_two_processes(world: World) -> None:
    for name in ("1", "2"):
        world.begin(name)
    world.divided("1", "2")
    world.in_the_middle("2")
    world.server.restart_empty()
    world.divided("1", "2")
    world.in_the_middle("1")
    assert all("skyloom.work WARNING" in world.said_by(name).read_text() for name in ("1", "2"))
    world.settle()
    is_what_one_worker_leaves(world)
    for name in ("1", "2"):
        world.tell(name, signal.SIGTERM)
        assert world.ended(name) == 0
