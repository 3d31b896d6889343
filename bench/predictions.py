"""One-row predictions over HTTP, with features read and receipts logged, beside a bare server's echo of the same bodies."""

import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.figure import Figure, quantile
from bench.processes import ended_after
from bench.project import MODEL, trained
from bench.up import address, running
from bench.wire import Connection

ROWS, TURN = 3_000, 100


def predict() -> list[Figure]:
    """One connection each, one request at a time. Both servers run, and take turns, so that whatever else this machine
    does meets both alike."""
    bodies = [msgspec.json.encode(row) for row in departures()]
    folder = trained()
    with running(folder), _echo() as bare:
        key = (folder / ".skyloom" / "private" / "api.key").read_text()
        connection = Connection(address(folder))
        headers = f"Authorization: Bearer {key}\r\n"
        requests = [connection.request(f"/predict/{MODEL}", body, headers) for body in bodies]
        same = [bare.request("/", body) for body in bodies]
        times, echoed = list[float](), list[float]()
        for at in range(0, ROWS, TURN):
            times += connection.times(requests[at : at + TURN])
            echoed += bare.times(same[at : at + TURN])
    del times[:TURN], echoed[:TURN]  # the first turn warms up
    rate, bare_rate = len(times) / sum(times), len(echoed) / sum(echoed)
    return [
        Figure("one-row predictions, one connection", rate, "1/s", None, "python -m bench predict"),
        Figure("one-row prediction, p50", quantile(times, 0.5) * 1e3, "ms"),
        Figure("one-row prediction, p99", quantile(times, 0.99) * 1e3, "ms"),
        Figure("bare Granian RSGI echo of the same bodies", bare_rate, "1/s"),
        Figure("predictions / echo", rate / bare_rate, "", 0.5, at_least=True),
    ]


@contextmanager
def _echo() -> Generator[Connection]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "bench.echo", str(port)]
    with ended_after(subprocess.Popen(words, cwd=Path(__file__).parent.parent, text=True)):
        yield Connection(f"http://127.0.0.1:{port}")


def departures() -> list[dict[str, Any]]:
    """The first requests of the example, as JSON takes them."""
    from skyloom.examples.flights.prepare import days
    from skyloom.runtime.demo.story import FIRST_DAY

    table = days(FIRST_DAY, 4)[0].slice(0, ROWS)
    moments = table.schema.get_field_index("scheduled")
    return table.set_column(moments, "scheduled", table.column("scheduled").cast("int64")).to_pylist()
