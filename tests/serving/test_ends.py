"""Many ends of supervised servers under load, asked for and not: who is answered, who is not, and how soon again."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from load import SOAK, Client, Load, request, tell
from serving_world import NOW, Arm, World, mint, until

FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}
ENDS = 8 * SOAK
CLIENTS = 8
HERE = str(Path(__file__).parent)
DRIVER = """
import sys, msgspec
from skyloom.engines.local import ChildSpec, Supervisor

def said(event):
    print(msgspec.json.encode(event).decode(), flush=True)

children = msgspec.json.decode(sys.argv[1], type=list[ChildSpec])
nursery = ChildSpec("nursery", (sys.executable, "-m", "skyloom.runtime.nursery"), {"OPENBLAS_NUM_THREADS": "1"})
raise SystemExit(Supervisor(children, on_event=said, nursery=nursery).run())
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, windowed=False)


@pytest.fixture
def key(world: World) -> str:
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    return key


class Supervised:
    """Servers on one socket, forked as those of `skyloom up` are, and the supervisor that keeps them alive; ``pids`` are
    those that are ready."""

    def __init__(self, folder: Path, shared: socket.socket, names: Sequence[str]) -> None:
        number = shared.fileno()
        options = json.dumps({"descriptor": number, "limits": {"lame_duck_seconds": 0.1}})
        command = [sys.executable, "-m", "serving_world", str(folder), options]
        same = {"command": command, "pass_fds": [number], "at_once": True, "forked": True}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps([{"name": name, **same} for name in names])],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(number,),
            env={**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *filter(None, sys.path)])},
        )
        self.pids: dict[str, int] = {}
        self.ends: list[str] = []
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def hear(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                loop.call_soon_threadsafe(self._events.put_nowait, json.loads(line))

    async def until(self, kind: str, child: str) -> None:
        while True:
            event = await self._events.get()
            if event["kind"] == "ready":
                self.pids[event["child"]] = event["pid"]
            elif event["kind"] in ("died", "failing"):
                self.pids.pop(event["child"], None)
                self.ends.append(event["detail"])
            if (event["kind"], event["child"]) == (kind, child):
                return


@contextmanager
def supervised(world: World, *names: str) -> Iterator[tuple[int, Supervised]]:
    with socket.socket() as shared:
        shared.bind(("127.0.0.1", 0))
        shared.listen(1024)
        running = Supervised(world.folder, shared, names)
        yield shared.getsockname()[1], running
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
        assert running.process.stdout is not None
        running.process.stdout.close()


def connected_to(pid: int, port: int) -> set[int]:
    """The ports of clients whose connections to ``port`` are held by a process. It is stopped, so that it takes no more of
    them meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    mine: set[str] = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            mine.add(os.readlink(each))
        except FileNotFoundError:
            continue
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    here = [row for row in rows if row[1].endswith(f":{port:04X}") and f"socket:[{row[9]}]" in mine]
    return {int(row[2].partition(":")[2], 16) for row in here}


@pytest.mark.timeout(60 + 10 * ENDS)
def test_who_is_asked_to_end_fails_nobody_and_who_is_killed_only_those_that_it_answered(world: World, key: str) -> None:
    with supervised(world, "one", "two") as (port, servers):
        end_many(port, servers, key)


def end_many(port: int, servers: Supervised, key: str) -> None:
    content = request("POST", "/predict/late", key, FLIGHT)
    load, finished = Load(), asyncio.Event()
    clients = [Client(port, lasts=20 + number) for number in range(CLIENTS)]
    lost = {signal.SIGTERM: 0, signal.SIGKILL: 0}

    async def end(number: signal.Signals, child: str) -> None:
        """End a server that clients are connected to, and wait for its successor."""
        pid = servers.pids[child]
        failed = len(load.failures)
        theirs = connected_to(pid, port)
        before = {client.local: client for client in clients}
        os.kill(pid, number)
        if number != signal.SIGKILL:
            os.kill(pid, signal.SIGCONT)
        await servers.until("died", child)
        await servers.until("ready", child)
        told = load.total
        while load.total < told + 2 * CLIENTS:
            await asyncio.sleep(0.01)
        lost[number] += len(load.failures) - failed
        broken = {local for local, client in before.items() if client.broken == local}
        assert broken <= theirs
        assert number is signal.SIGKILL or not broken

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        hearing = loop.run_in_executor(None, servers.hear, loop)
        for child in ("one", "two"):
            if child not in servers.pids:
                await servers.until("ready", child)
        driving = [asyncio.create_task(load.drive(client, lambda: content, finished.is_set)) for client in clients]
        while load.total < 10 * CLIENTS:
            await asyncio.sleep(0.01)
        for turn in range(ENDS):
            for number in lost:
                await end(number, ("one", "two")[turn % 2])
                turn += 1  # noqa: PLW2901  # never the same server twice: nobody would be connected to it yet
        finished.set()
        await asyncio.gather(*driving)
        servers.process.send_signal(signal.SIGTERM)
        await hearing

    asyncio.run(scenario())
    asked, killed = lost[signal.SIGTERM], lost[signal.SIGKILL]
    tell(f"{load.total} requests; {ENDS} times SIGTERM: {asked} failed; {ENDS} times SIGKILL: {killed} failed")
    assert set(load.statuses) == {200}
    assert lost[signal.SIGTERM] == 0
    assert lost[signal.SIGKILL] <= ENDS * CLIENTS
    assert sorted(set(servers.ends)) == ["ended with exit code 0", "killed by signal 9"]


@pytest.mark.timeout(60 + 10 * ENDS)
def test_a_server_that_was_alone_is_replaced_and_who_comes_meanwhile_waits(world: World, key: str) -> None:
    content = request("POST", "/predict/late", key, FLIGHT)
    load, finished, again = Load(), asyncio.Event(), list[float]()

    async def kill(servers: Supervised, port: int, clients: Sequence[Client]) -> None:
        """Kill the server while clients are connected to it; take the time until somebody has an answer again."""
        pid = servers.pids["one"]
        theirs, before = connected_to(pid, port), {client.local: client for client in clients}
        failed, answered = len(load.failures), load.statuses[200]
        os.kill(pid, signal.SIGKILL)
        begun = time.perf_counter()
        await servers.until("died", "one")
        after = load.statuses[200]  # answers that it had sent already are none of its successor
        while load.statuses[200] == after:
            await asyncio.sleep(0.001)
        again.append(time.perf_counter() - begun)
        await servers.until("ready", "one")
        while load.statuses[200] < answered + 2 * CLIENTS:
            await asyncio.sleep(0.01)
        assert {local for local, client in before.items() if client.broken == local} <= theirs
        assert len(load.failures) - failed <= CLIENTS

    async def scenario(servers: Supervised, port: int) -> None:
        loop = asyncio.get_running_loop()
        hearing = loop.run_in_executor(None, servers.hear, loop)
        await servers.until("ready", "one")
        clients = [Client(port, lasts=20 + number) for number in range(CLIENTS)]
        driving = [asyncio.create_task(load.drive(client, lambda: content, finished.is_set)) for client in clients]
        while load.total < 10 * CLIENTS:
            await asyncio.sleep(0.01)
        for _ in range(ENDS):
            await kill(servers, port, clients)
        finished.set()
        await asyncio.gather(*driving)
        servers.process.send_signal(signal.SIGTERM)
        await hearing

    with supervised(world, "one") as (port, servers):
        asyncio.run(scenario(servers, port))
    tell(
        f"{load.total} requests; {ENDS} times SIGKILL: {len(load.failures)} failed; "
        f"answered again after {median(again):.3f} s (median), {max(again):.3f} s at most"
    )
    assert set(load.statuses) == {200}
    assert len(again) == ENDS
