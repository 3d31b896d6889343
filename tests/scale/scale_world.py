"""The worker's world on a Kafka and a Redis of its own, and workers as processes that are stopped, killed and replaced."""

import os
import runpy
import signal
from collections.abc import Callable
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from tests.runtime.worker_world import BY_ID, BY_WHO, Clock, fill, project

from skyloom.kernel.errors import Conflict, Transient
from skyloom.runtime.worker import Worker
from skyloom.spec.profile import Profile
from skyloom.stores.lake.delta import DeltaLake
from skyloom.stores.log.kafka import KafkaLog
from skyloom.stores.log.kafka_settings import kafka_settings
from skyloom.stores.online.redis import RedisOnline
from skyloom.testing.faults import preload

GROUPS = (BY_WHO, BY_ID)
PREPARED = (
    "deltalake", "confluent_kafka", "redis", "skyloom.runtime.worker", "skyloom.stores.lake.delta",
    "skyloom.stores.log.kafka", "skyloom.stores.online.redis",
)  # fmt: skip
preload(*PREPARED)


class Place(NamedTuple):
    """Where a world lies: its folder (for the lake), its log and its online store."""

    path: str
    log: str
    online: str


class ScaleWorld:
    """What the worker needs of a platform, with the log in Kafka and the tiles in Redis."""

    def __init__(self, place: Place) -> None:
        self.directory, self.profile, self.clock = Path(place.path), Profile(), Clock()
        self.log: Any = Slowly(KafkaLog(kafka_settings(place.log)))
        self.online: Any = RedisOnline(place.online, lease_ms=1_000)
        self.lake: Any = DeltaLake(self.directory / "lake")

    def close(self) -> None:
        self.log.close()
        self.online.close()


class Slowly:
    """A log that is read a batch at a time."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, topic: str, offset: int, max_rows: int = 0, partition: int = 0) -> Any:
        return self._log.read(topic, offset, 1, partition)


def opened(place: Place) -> Any:
    return closing(ScaleWorld(place))


def filled(place: Place, batches: int = 12) -> None:
    with opened(place) as world:
        fill(world, batches)


def work(place: Place, at_commit: Callable[[int], None] = lambda _: None, before: int = 0) -> None:
    """Work until nothing is left, from where the stores stand; begun again after what a worker begins again after.

    ``at_commit`` is told the number of each write point before (``before=1``) or after it.
    """
    points = 0

    def point() -> None:
        nonlocal points
        points += 1
        at_commit(points)

    while True:
        try:
            with opened(place) as world:
                world.online = Pointed(world.online, point, before)
                worker = Worker(world, project(*GROUPS))
                while worker.step():
                    worker.flush()
                worker.flush()
                return
        except (Conflict, Transient):
            continue


class Pointed:
    """A store that tells of every write."""

    def __init__(self, store: Any, point: Callable[[], None], before: int) -> None:
        self._store, self._point, self._before = store, point, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def write(self, **options: Any) -> Any:
        with self._store.write(**options) as writer:
            yield writer
            if self._before:
                self._point()
        if not self._before:
            self._point()


def work_and_die(place: Place, at: int, before: int) -> None:
    """`work`, ended by SIGKILL at write point number ``at``."""
    work(place, lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == at else None, before)


def work_and_stop(place: Place, at: int, before: int) -> None:
    """`work`, stopped at write point number ``at`` until somebody lets it go on."""
    work(place, lambda number: os.kill(os.getpid(), signal.SIGSTOP) if number == at else None, before)


CHILD = """
import sys

sys.path.insert(0, ROOT)
from tests.scale import scale_world
getattr(scale_world, WHAT)(scale_world.Place(*PLACE), AT, BEFORE)
"""


def start(what: Callable[..., None], place: Place, at: int, before: int) -> Any:
    """One of the works above in a process of its own."""
    script = Path(place.path) / f"{what.__name__}-{at}-{before}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(CHILD)
    given = {
        "ROOT": str(Path(__file__).parents[2]),
        "PLACE": tuple(place),
        "AT": at,
        "BEFORE": before,
        "WHAT": what.__name__,
    }
    process = get_context("forkserver").Process(target=runpy.run_path, args=(str(script), given))
    process.start()
    return process


def stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
