"""Replays recorded flights in the order in which they happened: departures ask, landings report, the clock follows."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from skyloom.kernel.clock import DataClock
from skyloom.runtime.demo.client import Client

ASK, REPORT = 0, 1

BEHIND = 8
"""How many landings the features may be behind the flights while these are replayed at full speed."""

_PATIENCE_S = 10.0

ASK_EVERY = 25
"""After how many requests `Replay.run` asks whether it is done."""


class Happening(NamedTuple):
    """One row at its moment: a departure that asks or a landing that reports."""

    at_ms: int
    kind: int
    row: dict[str, Any]


class Replayed(msgspec.Struct):
    """What a stretch of replay did: requests and events sent, the seconds of each."""

    requests: int = 0
    events: int = 0
    seconds: float = 0.0
    last_id: str = ""


class Replay:
    """The flights of a stretch of time, sent one after the other."""

    def __init__(
        self, departures: pa.Table, arrivals: pa.Table, clock: DataClock, folded: Callable[[], int] = lambda: 2**62
    ) -> None:
        self._queue = deque(_ordered(departures, arrivals))
        self._clock = clock
        self._folded = folded

    def run(self, client: Client, until_ms: int, done: Callable[[], bool] = lambda: False) -> Replayed:
        """Send everything that happened before ``until_ms``; ``done`` is asked now and then whether to stop early."""
        told, begun, folded = Replayed(), time.perf_counter(), self._folded()

        def note(answer: dict[str, Any]) -> None:
            told.last_id = answer["id"]

        while self._queue and self._queue[0].at_ms < until_ms:
            rows = self._next_run(until_ms)
            self._clock.advance_to(rows[-1].at_ms)
            if rows[0].kind == REPORT:
                client.post("/events/arrivals", [happening.row for happening in rows])
                told.events += len(rows)
                self._keep_pace(folded + told.events)
                continue
            for happening in rows:
                client.post("/predict/late_arrival", happening.row, note)
            before, told.requests = told.requests, told.requests + len(rows)
            if told.requests // ASK_EVERY > before // ASK_EVERY and done():
                break
        client.settle()
        told.seconds = time.perf_counter() - begun
        return told

    def _keep_pace(self, end: int) -> None:
        """Wait while the worker is more than a few landings behind: a day passes in a second here, and what is a
        moment for the worker would be an hour for the flights."""
        deadline = time.monotonic() + _PATIENCE_S
        while end - self._folded() > BEHIND and time.monotonic() < deadline:
            time.sleep(0.0005)

    def _next_run(self, until_ms: int) -> list[Happening]:
        """The next neighbours of one kind."""
        rows = [self._queue.popleft()]
        while self._queue and self._queue[0].kind == rows[0].kind and self._queue[0].at_ms < until_ms:
            rows.append(self._queue.popleft())
        return rows


def _ordered(departures: pa.Table, arrivals: pa.Table) -> list[Happening]:
    asks = [Happening(row["scheduled"], ASK, row) for row in _rows(departures)]
    reports = [Happening(row["landed"], REPORT, row) for row in _rows(arrivals)]
    return sorted([*asks, *reports], key=lambda happening: happening[:2])


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    columns = [
        table.column(name).cast(pa.int64()) if pa.types.is_timestamp(table.schema.field(name).type) else table.column(name)
        for name in table.column_names
    ]
    return pa.table(columns, table.column_names).to_pylist()
