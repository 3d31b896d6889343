"""The tests of the worker can fail: each of these faults, put in on purpose, leaves something else in the stores."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.features.test_fold_building import barriers_too_far
from tests.runtime.worker_world import BY_ID, BY_WHO, START, World, contents, fill, project, put

from skyloom.features.online import fold, seen
from skyloom.kernel.errors import Conflict
from skyloom.kernel.units import HOUR
from skyloom.runtime.worker import Worker
from skyloom.runtime.worker.fence import Fenced


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    made = World(tmp_path / "one"), World(tmp_path / "other")
    yield made
    for world in made:
        world.close()


def live(world: Any, *groups: Any) -> dict[str, Any]:
    """A stream, then a group declared, then more of the stream; what is in the stores at the end."""
    fill(world, 4)
    Worker(world, project(*groups)).drain()
    worker = Worker(world, project(BY_WHO, BY_ID))
    put(world, [(f"k3-{number}", START + 4 * HOUR, "u0", 1.0) for number in range(3, 9)], START + 4 * HOUR)
    worker.drain()
    found = contents(world, BY_WHO, BY_ID)
    return {name: rows for name, rows in found.items() if name.startswith(("tiles", "events", "deadletter", "quarantine"))}


def test_what_is_compared_is_equal_without_a_fault(worlds: tuple[Any, Any]) -> None:
    one, other = live(worlds[0], BY_WHO), live(worlds[1], BY_WHO)
    assert one == other
    assert one["deadletter/taps"]
    assert one["quarantine/taps"]


def _barrier_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    barriers_too_far(monkeypatch, 5)


def _stream_leaves_buildings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "buildings", lambda view, groups, partition: {})


def _everything_is_a_first_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        seen.SeenKeys, "_repeats", lambda self, writer, memory, rows, *_: seen.np.zeros(len(rows.keys), bool)
    )


def _nothing_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen.SeenKeys.__init__
    monkeypatch.setattr(seen.SeenKeys, "__init__", lambda self, part, horizon=None: before(self, part, None))


def _keys_are_forgotten_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen.SeenKeys, "_held", lambda self, writer, memory, keys: {})


@pytest.mark.parametrize(
    "fault",
    [
        _barrier_too_far,
        _stream_leaves_buildings_alone,
        _everything_is_a_first_copy,
        _nothing_is_too_late,
        _keys_are_forgotten_at_once,
    ],
)
def test_a_fault_is_found(worlds: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    expected = live(worlds[0], BY_WHO)
    fault(monkeypatch)
    assert live(worlds[1], BY_WHO) != expected


def taken_over(world: Any, monkeypatch: pytest.MonkeyPatch | None) -> dict[str, Any]:
    """A worker that another one follows, and that goes on nevertheless once something came in."""
    if monkeypatch is not None:
        monkeypatch.setattr(Fenced, "require", lambda self, view: None)
        monkeypatch.setattr(fold.SourceFold, "require", lambda self, view, offset: None)
    fill(world, 4)
    zombie = Worker(world, project(BY_WHO))
    zombie.step()
    Worker(world, project(BY_WHO)).drain()
    put(world, [("x", START + 4 * HOUR, "u0", 1.0)], START + 4 * HOUR)
    Worker(world, project(BY_WHO)).drain()
    if monkeypatch is not None:
        zombie.step()
        with contextlib.suppress(Conflict):  # the lake is a fence of its own
            zombie.flush()
    return contents(world, BY_WHO)


def test_a_worker_without_any_fence_is_found(worlds: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken_over(worlds[0], None) != taken_over(worlds[1], monkeypatch)


def test_positions_are_a_fence_of_their_own(worlds: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fenced, "require", lambda self, view: None)
    fill(worlds[0], 4)
    zombie, other = Worker(worlds[0], project(BY_WHO)), Worker(worlds[0], project(BY_WHO))
    other.drain()
    with pytest.raises(Conflict, match="folded up to offset 36, not 0"):
        zombie.step()
