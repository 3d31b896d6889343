"""A server with everything else down: it starts from its own copy of the release, and says what it cannot answer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serving_world import NOW, Arm, Reached, ServerProcess, World, mint, until

from skyloom.delivery.release import POINTER
from skyloom.runtime.releases import troubles_of
from skyloom.serving.copy import COPY
from skyloom.serving.standing import PROCESSES, Standing, standings

FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 100.0, "seats": 5, "charter": False}


def publish(world: World, base: float, keys: tuple[Any, ...], version: int = 1) -> str:
    arm = Arm(version, world.package(base), 10_000, "champion")
    return world.publish(world.release({"late": (arm,)}, keys))


def metric(server: ServerProcess, name: str) -> float:
    lines = server.ask("GET", "/metrics")[1].splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"skyloom_release_{name} "))


def standing(world: World) -> Standing:
    [found] = standings(world.folder / "served" / PROCESSES)
    return found


@pytest.mark.parametrize("windowed", [False, True])
def test_it_starts_with_objects_log_and_online_store_down(tmp_path: Path, launch: Any, windowed: bool) -> None:
    """A model that looks nothing up answers as ever; one that needs the online store is a 503 until it is back."""
    world = World(tmp_path, windowed=windowed)
    key, stored = mint(["admin"])
    release = publish(world, 0.25, (stored,))
    server = launch(world, key)
    until(lambda: metric(server, "copied") == 1)
    before = server.ask("POST", "/predict/late", FLIGHT)[1]
    assert server.end() == 0
    downs = [tmp_path / name for name in ("objects-down", "online-down", "disk-full")]
    for down in downs:
        down.touch()
    server = launch(world, key, limits={"drain_seconds": 0.5})
    assert server.ask("GET", "/health/ready")[0] == 200
    assert server.ask("POST", "/predict/late", FLIGHT, key="sky_nobody")[0] == 401  # keys are checked as ever
    status, answer = server.ask("POST", "/predict/late", FLIGHT)
    if windowed:
        assert (status, "nobody answers" in answer["error"]) == (503, True)
    else:
        assert status == 200
        assert [answer[name] for name in ("score", "version", "release")] == [before["score"], 1, release[:12]]
    assert (metric(server, "store_up"), metric(server, "from_copy")) == (0, 1)
    assert "serves from the local copy" in server.said()
    seen = standing(world)
    assert (seen.number, seen.from_copy, seen.copied) == (1, True, True)
    assert "cannot ask the object store, release 1 serves on" in troubles_of(seen)[0]
    for down in downs:
        down.unlink()
    until(lambda: metric(server, "from_copy") == 0)
    assert server.ask("POST", "/predict/late", FLIGHT)[1]["score"] == before["score"]
    newer = publish(world, 0.5, (stored,), 2)
    until(lambda: server.ask("POST", "/predict/late", FLIGHT)[1]["release"] == newer[:12])


def test_a_store_that_was_emptied_or_damaged_stops_no_server_from_starting(tmp_path: Path, launch: Any) -> None:
    world = World(tmp_path, windowed=False)
    key, stored = mint(["admin"])
    first = publish(world, 0.25, (stored,))
    server = launch(world, key)
    until(lambda: metric(server, "copied") == 1)
    server.end(9)
    copy = tmp_path / "served" / COPY
    assert {path.stat().st_mode & 0o077 for path in [copy, *copy.iterdir()]} == {0}

    world.objects.move(POINTER, b"f" * 64, expect=first.encode())  # what is pointed at is not there
    server = launch(world, key)
    assert server.ask("POST", "/predict/late", FLIGHT)[1]["release"] == first[:12]
    until(lambda: metric(server, "refusing") == 1)
    assert "refuses release ffffffffffff, release 1 serves on" in troubles_of(standing(world))[0]
    server.end(9)

    shutil.rmtree(tmp_path / "objects")
    server = launch(world, key)
    assert server.ask("POST", "/predict/late", FLIGHT)[1]["release"] == first[:12]
    server.end(9)

    for path in copy.glob("*"):  # a copy that somebody changed is as good as none
        if path.name != "release.json":
            path.write_bytes(path.read_bytes()[::-1])
    server = launch(world, key, ready=False)
    until(lambda: "cannot be used" in server.said())
    assert server.ask("POST", "/predict/late", FLIGHT)[0] == 503


def test_an_older_release_is_refused_also_by_a_process_that_starts(tmp_path: Path, launch: Any) -> None:
    """Whoever can move the pointer could bring back a key that was revoked."""
    world = World(tmp_path, windowed=False)
    (old_key, old), (key, stored) = mint(["admin"]), mint(["admin"])
    first = publish(world, 0.25, (old, stored))
    second = publish(world, 0.5, (stored,), 2)

    def refuses(server: ServerProcess) -> None:
        until(lambda: metric(server, "refusing") == 1)
        assert "older than release 2" in server.said()
        assert server.ask("POST", "/predict/late", FLIGHT, key=old_key)[0] == 401
        assert server.ask("POST", "/predict/late", FLIGHT)[1]["release"] == second[:12]

    server = launch(world, key)
    until(lambda: metric(server, "copied") == 1)
    world.objects.move(POINTER, first.encode(), expect=second.encode())
    refuses(server)
    server.end(9)
    server = launch(world, key)
    refuses(server)
    third = publish(world, 0.75, (stored,), 3)
    until(lambda: server.ask("POST", "/predict/late", FLIGHT)[1]["release"] == third[:12])


def test_a_disk_without_room_costs_the_copy_and_no_release(tmp_path: Path, launch: Any) -> None:
    world = World(tmp_path, windowed=False)
    key, stored = mint(["admin"])
    (tmp_path / "served").write_text("no folder can be made here")
    publish(world, 0.25, (stored,))
    server = launch(world, key)
    assert server.ask("POST", "/predict/late", FLIGHT)[0] == 200
    assert metric(server, "copied") == 0
    until(lambda: "could not be copied" in server.said())


@pytest.mark.parametrize("windowed", [False, True])
def test_the_command_starts_with_every_store_of_its_profile_down(tmp_path: Path, windowed: bool) -> None:
    """``skyloom serve``: brokers and Redis that nobody listens as, no objects, no metadata; keys and the copy alone."""
    world = World(tmp_path / ".skyloom", windowed=windowed)
    key, stored = mint(["admin"])
    release = publish(world, 0.25, (stored,))
    (tmp_path / ".skyloom" / "keys").rename(tmp_path / ".skyloom" / "private")
    stores = 'log = "kafka://127.0.0.1:1/p"\nonline = "redis://127.0.0.1:1"\n'
    (tmp_path / "skyloom.toml").write_text("[local]\n[down]\n" + stores)
    status, answer = answered(tmp_path, key, "local")
    assert (status, answer["release"]) == (200, release[:12])
    shutil.rmtree(tmp_path / ".skyloom" / "objects")
    (tmp_path / ".skyloom" / "objects").write_text("no folder")
    status, down = answered(tmp_path, key, "down")
    if windowed:
        assert (status, "redis://127.0.0.1:1 does not answer" in down["error"]) == (503, True)
    else:
        assert (status, down["score"], down["release"]) == (200, answer["score"], release[:12])


def answered(project: Path, key: str, profile: str) -> tuple[int, Any]:
    """What the command answers, when it is ready, to one request."""
    command = Path(sys.executable).parent / "skyloom"
    with (project / "said").open("w") as said:
        process = subprocess.Popen(
            [command, "serve", "--port", "0", "--profile", profile],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, "SKYLOOM_PARENT_PID": str(os.getpid())},
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (project / "said").read_text()
        server = Reached(int(line.partition(";")[0].rpartition(":")[2]), key)
        until(lambda: server.ask("GET", "/health/ready")[0] == 200)
        answer = server.ask("POST", "/predict/late", FLIGHT)
        if profile == "local":
            until(lambda: (project / ".skyloom" / "served" / COPY / "release.json").exists())
        return answer
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
