"""One function for all tests: a world with the model ``late`` v1 (0.25 + distance / 1000)."""

from collections.abc import Iterator

import pytest
from lambda_runtime import FakeRuntime
from lambda_world import Function, Lambda, buckets
from serving_world import Arm, World, mint


@pytest.fixture(scope="session")
def function_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("function"), windowed=False)
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    (world.folder / "key").write_text(key)
    return world


@pytest.fixture(scope="session")
def function(function_world: World) -> Iterator[Lambda]:
    with FakeRuntime() as runtime, buckets() as stored:
        environ = {"AWS_ENDPOINT_URL_S3": stored.url, "SKYLOOM_LAMBDA_OUTPUT": "s3://out/scored"}
        started = Function(function_world.folder, runtime, environ)
        yield Lambda(function_world, runtime, started, stored, (function_world.folder / "key").read_text())
        started.end()
