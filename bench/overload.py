"""More requests than can be answered: how much is answered all the same, how soon the rest is refused, who else waits."""

import asyncio
import time
from typing import NamedTuple

import msgspec

from bench.figure import Figure, quantile
from bench.predictions import departures
from bench.project import MODEL, trained
from bench.up import address, running

SECONDS = 5.0
ROWS = 300
"""Rows of a request, so that it takes some milliseconds on a thread."""
AT_CAPACITY = 4
"""As many connections keep both threads of the model busy."""


class Asked(NamedTuple):
    """Seconds that requests took, by what became of them."""

    answered: list[float]
    refused: list[float]
    health: list[float]


def overload() -> list[Figure]:
    """First as many connections as keep the server busy, then five times as many; refused ones ask again after 50 ms."""
    folder = trained()
    rows = departures()[:ROWS]
    with running(folder):
        key = (folder / ".skyloom" / "private" / "api.key").read_text()
        port = int(address(folder).rpartition(":")[2])
        body = msgspec.json.encode({"instances": rows})
        head = (
            f"POST /predict/{MODEL} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        )
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        asyncio.run(_drive(port, request, AT_CAPACITY))
        peak = asyncio.run(_drive(port, request, AT_CAPACITY))
        beyond = asyncio.run(_drive(port, request, 5 * AT_CAPACITY))
    refused = beyond.refused or [0.0]
    return [
        Figure("answered a second at capacity", len(peak.answered) / SECONDS, "1/s", None, "python -m bench overload"),
        Figure("answered at 5 times that / at capacity", len(beyond.answered) / len(peak.answered), "", 0.9, at_least=True),
        Figure("refused meanwhile", len(beyond.refused) / SECONDS, "1/s"),
        Figure("a refusal, p99 (its body sent and read)", quantile(refused, 0.99) * 1e3, "ms", 10.0),
        Figure("health meanwhile, p50", quantile(beyond.health, 0.5) * 1e3, "ms"),
        Figure("health meanwhile, p99", quantile(beyond.health, 0.99) * 1e3, "ms", 50.0),
    ]


async def _drive(port: int, request: bytes, connections: int) -> Asked:
    asked, until = Asked([], [], []), time.perf_counter() + SECONDS
    health = b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n"

    async def one(content: bytes, pause_s: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < until:
            writer.write(content)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            took = time.perf_counter() - begun
            if content is health:
                asked.health.append(took)
            else:
                (asked.answered if head.split()[1] == b"200" else asked.refused).append(took)
            if content is health or head.split()[1] != b"200":
                await asyncio.sleep(pause_s)
        writer.close()

    await asyncio.gather(one(health, 0.01), *(one(request, 0.05) for _ in range(connections)))
    return asked
