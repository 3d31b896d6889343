"""Clients that are slow on purpose: they are cut, and nobody else waits for them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from load import SOAK, Client, Load, request, tell
from serving_world import NOW, Arm, World, mint

FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}
SLOW = 100 * SOAK


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, windowed=False)


async def trickle(port: int, sent: bytes, rest: bytes) -> str:
    """Send the beginning of a request and then a byte now and then; how it ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        for byte in rest:
            try:
                said = await asyncio.wait_for(reader.read(400), 0.3)
            except TimeoutError:
                writer.write(bytes([byte]))
                continue
            return said.split(b"\r\n", 1)[0].decode() or "closed"
        return "never cut"
    except ConnectionError:
        return "closed"
    finally:
        writer.close()


@pytest.mark.timeout(120 + SLOW)
def test_slow_clients_are_cut_and_health_and_predictions_go_on(world: World, launch: Any) -> None:
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key, limits={"head_seconds": 1.0, "body_seconds": 1.0})
    whole = request("POST", "/predict/late", key, FLIGHT)
    head, body = whole.split(b"\r\n\r\n")
    load, healthy = Load(), Load()
    ends: list[str] = []
    health = request("GET", "/health/live", key)

    async def slow(number: int) -> None:
        if number % 2:
            ends.append("head " + await trickle(server.port, head[:20], head[20:120]))
        else:
            ends.append("body " + await trickle(server.port, head + b"\r\n\r\n" + body[:1], body[1:]))

    async def scenario() -> None:
        cut = asyncio.Event()
        others = [
            asyncio.create_task(load.drive(Client(server.port, lasts=10), lambda: whole, cut.is_set)),
            asyncio.create_task(healthy.drive(Client(server.port, lasts=10), lambda: health, cut.is_set)),
        ]
        await asyncio.gather(*(slow(number) for number in range(SLOW)))
        cut.set()
        await asyncio.gather(*others)

    asyncio.run(scenario())
    counted = {each: ends.count(each) for each in sorted(set(ends))}
    tell(f"{SLOW} slow clients: {counted}; meanwhile predictions {load.statuses}, health {healthy.statuses}")
    assert (load.failures, healthy.failures) == ([], [])
    assert set(load.statuses) == set(healthy.statuses) == {200}
    assert counted["body HTTP/1.1 408 Request Timeout"] == SLOW // 2
    assert all(
        each.startswith("body HTTP/1.1 408") or each in ("head closed", "head HTTP/1.1 408 Request Timeout") for each in ends
    )
    assert server.end() == 0
