"""The worker killed at every write point, one after the other: what it leaves becomes what an undisturbed one leaves."""

import multiprocessing
import os
import runpy
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.runtime.worker_world import BY_ID, BY_WHO, SOURCE, START, World, contents, fill, partitions_of, project, put

from skyloom.features.online.building import begin
from skyloom.ingest.partitions import parts_of
from skyloom.kernel.units import HOUR
from skyloom.ports.log import NewBatch
from skyloom.runtime.worker import Erasure, Worker
from skyloom.runtime.worker import slices as building
from skyloom.testing.faults import preload

preload("deltalake", "lmdb", "skyloom.runtime.worker", "skyloom.stores.lake.delta", "skyloom.stores.online.lmdb")


def erasure_of(partitions: int) -> Erasure:
    """All of an entity that came in before a position in each partition."""
    return Erasure("erasure_1", SOURCE.name, "who", ("u1",), (60,) * partitions, "tester", START)


Point = Callable[[], None]


class Pointed:
    """A store that tells of every write, just before it is there."""

    def __init__(self, store: Any, point: Point) -> None:
        self._store, self._point = store, point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def write(self, **options: Any) -> Generator[Any]:
        with self._store.write(**options) as writer:
            yield writer
            self._point()

    def append(self, *arguments: Any, **options: Any) -> Any:
        self._point()
        return self._store.append(*arguments, **options)

    def overwrite(self, *arguments: Any, **options: Any) -> Any:
        self._point()
        return self._store.overwrite(*arguments, **options)

    def drop(self, space: str) -> None:
        self._point()
        self._store.drop(space)


class Slowly:
    """A log that is read a few rows at a time."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, topic: str, offset: int, max_rows: int = 0, partition: int = 0) -> Any:
        return self._log.read(topic, offset, 20, partition)


@contextmanager
def opened(path: Path, point: Point) -> Iterator[World]:
    world = World(path)
    try:
        world.log = Slowly(world.log)
        world.online, world.lake = Pointed(world.online, point), Pointed(world.lake, point)
        yield world
    finally:
        world.close()


def work(path: Path, point: Point) -> None:
    """A worker's life: a stream, another group declared, one built again, a subject erased, more of the stream."""
    building.ROWS = 20
    with opened(path, point) as world:
        worker, steps = Worker(world, project(BY_WHO)), 0  # type: ignore[arg-type]
        while worker.step():
            steps += 1
            if steps % 2 == 0:
                worker.flush()
        if world.log.end("erasures") == 0:
            world.log.append(
                "erasures", [NewBatch(1, START, False, msgspec.msgpack.encode(erasure_of(partitions_of(world))))]
            )
            put(world, [("after", START + 12 * HOUR, "u1", 3.5)], START + 12 * HOUR)
            with world.online.write() as writer:
                begin(writer, BY_WHO, parts_of(SOURCE, partitions_of(world)))
        Worker(world, project(BY_WHO, BY_ID)).drain()  # type: ignore[arg-type]


def work_and_die(path: Path, at: int) -> None:
    """The same life, ended by SIGKILL at its write point number ``at``; else the number of points is written down."""
    points = 0

    def point() -> None:
        nonlocal points
        points += 1
        if points == at:
            os.kill(os.getpid(), signal.SIGKILL)

    work(path, point)
    (path / "points").write_text(str(points))


CHILD = """
import sys
sys.path.insert(0, ROOT)
from pathlib import Path
from tests.runtime.test_worker_crash import work_and_die
work_and_die(Path(PATH), AT)
"""


def run(path: Path, at: int) -> int | None:
    """`work_and_die` in a process of its own; how it ended."""
    script = path / "child.py"
    script.write_text(CHILD)
    given = {"ROOT": str(Path(__file__).parents[2]), "PATH": str(path), "AT": at}
    process = multiprocessing.get_context("forkserver").Process(target=runpy.run_path, args=(str(script), given))
    process.start()
    process.join(120)
    return process.exitcode


@pytest.fixture(scope="module", params=[1, 2])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world")
    world = World(path, request.param)
    fill(world, 7)
    world.close()
    return path


def end_of(path: Path) -> dict[str, Any]:
    world = World(path)
    try:
        return contents(world, BY_WHO, BY_ID)
    finally:
        world.close()


@pytest.mark.timeout(900)
def test_a_worker_killed_at_any_write_point_leaves_what_an_undisturbed_one_leaves(filled: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(filled, whole)
    assert run(whole, 0) == 0
    points = int((whole / "points").read_text())
    expected = end_of(whole)
    assert points > 30
    assert expected["deadletter/taps"]
    assert not any(row["who"] == "u1" and row["_offset"] < 60 for row in expected["events/taps"])
    for at in range(1, points + 1):
        path = tmp_path / str(at)
        shutil.copytree(filled, path)
        assert run(path, at) == -signal.SIGKILL
        work(path, lambda: None)
        assert end_of(path) == expected, f"after a kill at write point {at} of {points}"
        shutil.rmtree(path)
