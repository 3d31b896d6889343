"""Models that crash the process that serves them."""

import http.client
import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from serving_world import NOW, PATIENCE_S, Arm, ServerProcess, World, mint, until

from skyloom.kernel.clock import ManualClock
from skyloom.serving.quarantine import CRASHES, MOST_CRASHES, WITHIN_MS, Crash, Crashed, Quarantine, Quarantined

FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}
POISON = {**FLIGHT, "distance": 666.0}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, windowed=False)


@pytest.fixture
def key(world: World) -> str:
    key, stored = mint(["admin"])
    arms = {name: (Arm(1, world.package(0.25, model=name), 10_000, "champion"),) for name in ("late", "early")}
    world.publish(world.release(arms, (stored,)))
    return key


def crash(server: ServerProcess, number: int) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        server.ask("POST", "/predict/late", POISON)
    assert server.process.wait(PATIENCE_S) == -number


def test_the_third_crash_quarantines_a_model_and_no_other(world: World, key: str, launch: Any) -> None:
    for _ in range(MOST_CRASHES):
        server = launch(world, key, crashes={"666": signal.SIGSEGV})
        assert server.ask("POST", "/predict/late", FLIGHT)[0] == 200
        crash(server, signal.SIGSEGV)
    server = launch(world, key, crashes={"666": signal.SIGSEGV})
    status, answer = server.ask("POST", "/predict/late", POISON)
    assert status == 503
    assert "late v1 is quarantined" in answer["error"]
    assert "Segmentation fault" in answer["error"]
    assert server.ask("POST", "/predict/early", FLIGHT)[0] == 200
    receipt = until(lambda: [each for each in world.receipts() if each.error])[0]
    assert "quarantined" in receipt.error
    arms = {name: (Arm(2, world.package(0.5, model=name), 10_000, "champion"),) for name in ("late", "early")}
    (stored,) = world.release(arms, (mint(["predict"])[1],)).keys
    world.publish(world.release(arms, (stored, *_keys(world))))
    until(lambda: server.ask("POST", "/predict/late", FLIGHT)[0] == 200)  # another version is another matter
    assert server.end() == 0


def _keys(world: World) -> tuple[Any, ...]:
    from skyloom.delivery.release import current

    found = current(world.objects, world.verifier)
    assert found is not None
    return found[1].keys


def test_who_is_killed_from_outside_blames_nobody(world: World, key: str, launch: Any) -> None:
    for _ in range(MOST_CRASHES + 1):
        server = launch(world, key, crashes={"666": signal.SIGKILL})
        crash(server, signal.SIGKILL)
    server = launch(world, key)
    assert server.ask("POST", "/predict/late", POISON)[0] == 200
    assert json.loads((world.folder / "served" / "crashes" / CRASHES).read_text()) == {}
    assert server.end() == 0


def test_an_answer_that_never_ends_counts_as_a_crash(world: World, launch: Any) -> None:
    key, stored = mint(["admin"])
    arms = {"late": (Arm(1, world.package(0.25, "hangs"), 10_000, "champion"),)}
    world.publish(world.release(arms, (stored,)))
    server = launch(world, key, limits={"scoring_seconds": 0.3})
    crash(server, signal.SIGABRT)
    server = launch(world, key)
    (crashed,) = json.loads((world.folder / "served" / "crashes" / CRASHES).read_text()).values()
    assert (crashed["model"], [each["how"] for each in crashed["crashes"]]) == ("late", ["Aborted"])
    assert server.ask("POST", "/predict/late", FLIGHT)[0] == 200
    assert server.end() == 0


def test_only_the_model_of_the_thread_that_fell_is_blamed(tmp_path: Path) -> None:
    """Several are asked when a process dies; the signal names the thread."""
    import subprocess
    import sys

    program = """
import signal, sys, threading, time
from pathlib import Path
from skyloom.kernel.clock import ManualClock
from skyloom.serving.quarantine import Quarantine
quarantine = Quarantine(Path(sys.argv[1]), ManualClock(5), 60.0)
quarantine.start()
inside = threading.Barrier(3)
guards = {name: quarantine.guard(name * 64, name) for name in "abc"}
def ask(name, die):
    for before in (name, "c", name, "c", name, name):  # nobody is blamed for what ended well
        with guards[before]:
            pass
    with guards[name]:
        inside.wait()
        if die:
            signal.pthread_kill(threading.get_ident(), signal.SIGBUS)
        time.sleep(30)
for name, die in (("a", False), ("b", True)):
    threading.Thread(target=ask, args=(name, die), daemon=True).start()
inside.wait()
time.sleep(30)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGBUS
    quarantine = Quarantine(tmp_path, ManualClock(6), 60.0)
    quarantine.close()
    assert list(quarantine.crashed) == ["b" * 64]
    assert quarantine.crashed["b" * 64] == Crashed("b", (Crash(6, "Bus error", "answering"),))


def test_what_crashes_while_it_is_loaded_is_not_loaded_again(tmp_path: Path) -> None:
    crashes = tuple(Crash(at, "Segmentation fault", "loading") for at in range(MOST_CRASHES))
    found = {"d" * 64: Crashed("late", crashes)}
    import msgspec

    (tmp_path / CRASHES).write_bytes(msgspec.json.encode(found))
    quarantine = Quarantine(tmp_path, ManualClock(6), 60.0)
    with (
        pytest.raises(Quarantined, match=r"late is quarantined.*while it was loaded"),
        quarantine.guard("d" * 64, "late").loading(),
    ):
        raise AssertionError("it was loaded")
    quarantine.close()


def test_crashes_that_lie_far_apart_are_forgiven() -> None:
    days = tuple(Crash(at * WITHIN_MS, "Bus error", "answering") for at in range(5))
    assert Crashed("m", days).reason == ""


def test_more_threads_than_there_is_room_for_are_answered_all_the_same() -> None:
    quarantine = Quarantine(None, ManualClock(0), 60.0)
    guard, done = quarantine.guard("d" * 64, "m"), []

    def ask() -> None:
        with guard:
            done.append(1)

    for _ in range(300):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert len(done) == 300
