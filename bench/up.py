"""`skyloom up`: how long until everything is ready, and what all its processes hold together, at rest and after work."""

import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from bench.figure import Figure, middle
from bench.processes import SKYLOOM, ended_after, memory_mb
from bench.project import MODEL, PROFILE, trained
from bench.wire import Connection
from skyloom.examples.flights.prepare import days, midnight
from skyloom.kernel.clock import DataClock
from skyloom.platform import STATE
from skyloom.runtime.demo.story import FIRST_DAY

RUNS = 3
ROWS, BATCH, DAYS = 3_000, 500, 4
SETTLED_S = 3.0
"""How long everything has been idle when its memory is read."""


def up() -> list[Figure]:
    """On a project with a trained model."""
    ready, memory = list[float](), list[float]()
    for _ in range(RUNS):
        begun = time.perf_counter()
        with running(trained()) as process:
            ready.append(time.perf_counter() - begun)
            time.sleep(SETTLED_S)
            memory.append(memory_mb(process.pid))
    events, after = _worked(trained())
    return [
        Figure("skyloom up, until all is ready", middle(ready), "s", 3.0, "skyloom up"),
        Figure("skyloom up, memory of all processes (PSS)", middle(memory), "MB", 400.0, "/proc/PID/smaps_rollup"),
        Figure(f"the same, after {ROWS:,} requests and {events:,} events", after, "MB", 400.0, "python -m bench up"),
    ]


def _worked(folder: Path) -> tuple[int, float]:
    """How many events were sent, and the memory of all processes when they have come to rest after days of traffic."""
    clock = DataClock(folder / STATE / "clock")
    requests, arrivals = (as_json(table) for table in days(FIRST_DAY, DAYS))
    with running(folder) as process:
        clock.advance_to(round(midnight(FIRST_DAY + timedelta(days=DAYS + 1)).timestamp() * 1_000))
        key = (folder / STATE / "private" / "api.key").read_text()
        headers, connection = f"Authorization: Bearer {key}\r\n", Connection(address(folder))
        for row in requests[:ROWS]:
            connection.ask(connection.request(f"/predict/{MODEL}", msgspec.json.encode(row), headers))
        for at in range(0, len(arrivals), BATCH):
            body = msgspec.json.encode(arrivals[at : at + BATCH])
            connection.ask(connection.request("/events/arrivals", body, headers))
        time.sleep(SETTLED_S)
        return len(arrivals), memory_mb(process.pid)


def as_json(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with moments in ms."""
    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(at, field.name, table.column(at).cast("int64"))
    return table.to_pylist()


@contextmanager
def running(folder: Path) -> Generator["subprocess.Popen[str]"]:
    """`skyloom up` of a project, ready when the block begins."""
    words = [SKYLOOM, "up", "--profile", PROFILE]
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        with ended_after(process):
            assert process.stdout is not None
            if not any(line.startswith("ready") for line in process.stdout):
                raise RuntimeError(f"skyloom up did not become ready: {(folder / 'up.log').read_text()[-2000:]}")
            yield process


def address(folder: Path) -> str:
    """Where the running project serves."""
    return msgspec.json.decode((folder / ".skyloom" / "up.json").read_bytes())["serving"]
