"""Serving under test: real processes, real stores, real models."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from serving_world import NOW, Arm, ServerProcess, World, mint

collect_ignore_glob = ["clients/*"]  # programs, run by environments of their own


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def launch() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers; whatever the test leaves is killed."""
    servers: list[ServerProcess] = []

    def start(world: World, key: str, **options: Any) -> ServerProcess:
        servers.append(ServerProcess(world.folder, key, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.end(9)
        server.errors.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, ServerProcess]]:
    """A world with one good model (``late`` v1: 0.25 + distance / 1000 + landings / 100), and a server of it."""
    world = World(tmp_path_factory.mktemp("served"))
    key, stored = mint(["admin"])
    arm = Arm(1, world.package(0.25), 10_000, "champion")
    world.publish(world.release({"late": (arm,)}, (stored,)))
    server = ServerProcess(world.folder, key, limits={"body_seconds": 0.5, "tensor_bytes": 1_000_000})
    yield world, server
    server.end(9)
    server.errors.close()


@pytest.fixture
def flight() -> dict[str, Any]:
    return {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 100.0, "seats": 5, "charter": False}
