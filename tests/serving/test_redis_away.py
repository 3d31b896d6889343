"""Features in a Redis that stops, or dies: who needs none is answered as before, who needs some is told at once."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from load import SOAK, Client, Load, request, tell, together
from serving_world import INPUTS, NOW, Arm, World, mint, until
from tests.services.redis import RedisServer

FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}
WANTED = 200 * SOAK


def published(world: World) -> str:
    """A model with features and one without, in one release; the key."""
    key, stored = mint(["admin"])
    windowed = world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,))
    world.inputs = INPUTS[:-1]
    plain = world.release({"plain": (Arm(1, world.package(0.25, model="plain"), 10_000, "champion"),)}, (stored,))
    world.publish(msgspec.structs.replace(plain, routes={**windowed.routes, **plain.routes}))
    return key


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_nobody_waits_for_a_redis_that_does_not_answer(
    tmp_path: Path, launch: Any, new_redis: Callable[..., RedisServer], how: signal.Signals
) -> None:
    world, redis = World(tmp_path), new_redis()
    key = published(world)
    server = launch(world, key, redis=redis.url)
    until(lambda: server.ask("POST", "/predict/late", FLIGHT)[0] == 200)
    os.kill(redis.pid, how)
    until(lambda: server.ask("POST", "/predict/late", FLIGHT)[0] == 503)
    refused, plain, health = Load(), Load(), Load()

    def done() -> bool:
        return min(each.total for each in (refused, plain, health)) >= WANTED

    late, other, live = (
        request("POST", "/predict/late", key, FLIGHT),
        request("POST", "/predict/plain", key, FLIGHT),
        request("GET", "/health/live", key),
    )
    together(
        refused.drive(Client(server.port), lambda: late, done),
        plain.drive(Client(server.port), lambda: other, done),
        health.drive(Client(server.port), lambda: live, done),
    )
    tell(f"{how.name}: features {refused.statuses}, without {plain.statuses}, health {health.statuses}")
    assert (refused.failures, plain.failures, health.failures) == ([], [], [])
    assert (set(refused.statuses), set(plain.statuses), set(health.statuses)) == ({503}, {200}, {200})
    assert all("does not answer now" in each.body["error"] for each in refused.answers)
    if how is signal.SIGSTOP:
        os.kill(redis.pid, signal.SIGCONT)
    else:
        redis.stop(kill=True)
        redis.start()
    until(lambda: server.ask("POST", "/predict/late", FLIGHT)[0] == 200)
    assert server.end() == 0
