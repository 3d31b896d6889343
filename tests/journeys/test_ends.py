"""Ends: Ctrl-C, SIGTERM, and commands that are killed while they work."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.journeys import shop
from tests.journeys.journey import COMMAND, Project, Up, alive


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(trained: Project, launch: Callable[..., Up], number: int) -> None:
    up = launch(trained)
    sessions = {os.getsid(pid) for pid in (up.pid, *up.children().values())}
    assert sorted(up.children()) == ["api.main", "runtime.nursery", "runtime.schedule", "runtime.serve", "runtime.work"]
    assert up.end(number) == 0
    assert not any(of_session(sessions))
    assert trained.json("models")[0]["champion"]


def of_session(sessions: set[int]) -> list[int]:
    """Living processes of these sessions, wherever they have gone."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.getsid(int(entry.name)) in sessions and alive(int(entry.name)):
                found.append(int(entry.name))
        except ProcessLookupError:
            continue
    return found


def killed_when(project: Project, condition: Callable[[], object], *words: str) -> None:
    """Start a command and kill it as soon as ``condition`` holds."""
    process = subprocess.Popen([COMMAND, *words], cwd=project.directory, stdout=subprocess.DEVNULL)
    while not condition() and process.poll() is None:
        time.sleep(0.002)  # a moment later it may have ended by itself
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_killed_ingest_is_finished_by_the_next(declared: Project) -> None:
    declared.json("apply")
    log = declared.platform.log
    killed_when(declared, lambda: log.end("events/orders"), "ingest", "orders")
    declared.json("ingest", "orders")
    counts = Counter(row["order_id"] for row in declared.lake("events/orders"))
    assert (len(counts), set(counts.values())) == (shop.ORDERS, {1})


def test_a_killed_training_leaves_nothing_half_done(trained: Project) -> None:
    before = trained.json("models")
    killed_when(trained, lambda: len(runs(trained)) == 2, "train", "late")
    assert trained.json("models") == before
    assert trained.json("train", "late")["version"]["number"] == 2
    assert [run["status"] for run in trained.json("runs")] == ["done", "failed", "done"]


def runs(project: Project) -> list[object]:
    return list(project.platform.metadata.list("run"))
