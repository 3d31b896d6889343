"""The life of a server: how soon a fresh process answers, and how soon one that was killed is replaced."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bench.figure import Figure, middle
from bench.predictions import departures
from bench.processes import ended_after, family, worked_s
from bench.project import MODEL, PROFILE, trained
from bench.up import address, running

RUNS, KILLS = 5, 9
PATIENCE_S = 20.0
SETTLED_S = 0.5


def life() -> list[Figure]:
    """A process of its own from nothing to its first answer, and `skyloom up` whose server is killed (SIGKILL) again and
    again, with the processor time that each has taken by then."""
    folder = trained()
    replaced, again = _killed(folder)  # first: `up` makes the key that requests carry
    cold, worked = list[float](), list[float]()
    for _ in range(RUNS):
        took, cpu = _cold(folder)
        cold.append(took)
        worked.append(cpu)
    return [
        Figure("a server from its start to its first answer", middle(cold), "s", 1.5, "python -m bench life"),
        Figure("its processor time by then", middle(worked), "s"),
        Figure("a killed server, until the next answer", middle(replaced), "s", 1.0, "python -m bench life"),
        Figure("the same, longest", max(replaced), "s"),
        Figure("processor time of its successor by then", middle(again), "s"),
    ]


def _cold(folder: Path) -> tuple[float, float]:
    """Seconds and processor time of a server alone, until it has answered a request that waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        words = [sys.executable, "-m", "skyloom.runtime.serve", str(folder), PROFILE, str(number)]
        begun = time.perf_counter()
        with ended_after(subprocess.Popen(words, pass_fds=(number,), text=True)) as process:
            _answer(listening.getsockname()[1], folder)
            return time.perf_counter() - begun, worked_s(process.pid)


def _killed(folder: Path) -> tuple[list[float], list[float]]:
    replaced, worked = list[float](), list[float]()
    with running(folder) as up:
        port = int(address(folder).rpartition(":")[2])
        for _ in range(KILLS):
            _answer(port, folder)
            time.sleep(SETTLED_S)
            os.kill(_server(up.pid), signal.SIGKILL)
            begun = time.perf_counter()
            _answer(port, folder)
            replaced.append(time.perf_counter() - begun)
            worked.append(worked_s(_server(up.pid)))
    return replaced, worked


def _answer(port: int, folder: Path) -> None:
    """Ask for a prediction until there is one."""
    key = (folder / ".skyloom" / "private" / "api.key").read_text()
    content, until = msgspec.json.encode(departures()[0]), time.perf_counter() + PATIENCE_S
    while time.perf_counter() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("POST", f"/predict/{MODEL}", content, {"Authorization": f"Bearer {key}"})
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            continue  # the one that was asked is dying
        finally:
            connection.close()
    raise RuntimeError(f"no prediction within {PATIENCE_S:.0f} s")


def _server(pid: int) -> int:
    """The process that serves, among those of `skyloom up`."""
    for each in family(pid):
        try:
            words = Path(f"/proc/{each}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if "skyloom.runtime.serve" in words:
            return each
    raise RuntimeError("no server runs")
