"""What the programs of this folder share. Each is run by an environment of its own, asks a server as its library's users do,
and prints as JSON what became of each check: ``python PROGRAM '{"http": ..., "grpc": ..., "key": ...}'``."""

import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

FLIGHTS = 3
SCORE = 0.3499999940395355
"""What the model answers for 100 miles: float32(0.1) + float32(0.25)."""


def columns(count: int = FLIGHTS) -> dict[str, tuple[str, list[Any]]]:
    """The columns of as many flights: datatype and values."""
    return {
        "flight_id": ("BYTES", [f"c{row}" for row in range(count)]),
        "scheduled": ("INT64", [1_364_800_000_000] * count),
        "carrier": ("BYTES", ["UA"] * count),
        "distance": ("FP64", [100.0] * count),
        "seats": ("INT64", [5] * count),
        "charter": ("BOOL", [False] * count),
    }


def told() -> dict[str, Any]:
    """Where the server is, and a key."""
    return json.loads(sys.argv[1])


def refused(kind: type[Exception], call: Callable[[], object]) -> Any:
    """The error of that kind that a call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("it was answered")


async def refused_later(kind: type[Exception], call: Awaitable[object]) -> Any:
    """The error of that kind that is raised when a call is waited for."""
    try:
        await call
    except kind as error:
        return error
    raise AssertionError("it was answered")


def run(checks: dict[str, Callable[[], object]]) -> None:
    """Run checks, each of which raises or returns; print ``{name: "ok" or how it failed}``."""
    done: dict[str, str] = {}
    for name, check in checks.items():
        try:
            check()
            done[name] = "ok"
        except Exception:  # noqa: BLE001  # what a client raises is what is told
            done[name] = traceback.format_exc()[-2_000:]
    print("\n" + json.dumps(done))  # noqa: T201  # what these programs are for
