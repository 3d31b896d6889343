"""A server that speaks every contract, with two models."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clouds import Cloud
from serving_world import Arm, ServerProcess, World, mint

from skyloom.kernel.contracts import CONTRACTS


@pytest.fixture(scope="session")
def cloud_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """``late`` v1 (0.25 + distance / 1000) and ``other`` v3 (0.5 + distance / 1000), which answer whatever is asked."""
    world = World(tmp_path_factory.mktemp("clouds"), windowed=False)
    key, stored = mint(["admin"])
    arms = {
        "late": (Arm(1, world.package(0.25, "total"), 10_000, "champion"),),
        "other": (Arm(3, world.package(0.5, "total", "other"), 10_000, "champion"),),
    }
    world.publish(world.release(arms, (stored,)))
    (world.folder / "key").write_text(key)
    return world


@pytest.fixture(scope="session")
def start(cloud_world: World) -> Iterator[Callable[..., Cloud]]:
    """Starts servers of that world; all are ended."""
    servers: list[ServerProcess] = []

    def started(*, key: bool = True, **options: Any) -> Cloud:
        known = (cloud_world.folder / "key").read_text() if key else ""
        servers.append(ServerProcess(cloud_world.folder, known, **{"model": "late", **options}))
        return Cloud(cloud_world, servers[-1])

    yield started
    for server in servers:
        server.end(9)
        server.errors.close()


@pytest.fixture(scope="session")
def cloud(start: Callable[..., Cloud]) -> Cloud:
    """Every contract at once."""
    return start(contracts=list(CONTRACTS))


@pytest.fixture
def flights() -> list[dict[str, Any]]:
    return [
        {"flight_id": f"c{row}", "scheduled": 1_364_800_000_000, "carrier": "UA", "distance": distance, "seats": 5}
        | {"charter": False}
        for row, distance in enumerate([0.0, 100.0, 500.0])
    ]
