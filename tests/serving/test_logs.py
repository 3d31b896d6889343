"""Lines of logs: what they say, of which request, and when there is one for a request."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from serving_world import Arm, ServerProcess, World, mint, until

from skyloom.serving.logs import JsonLines, TextLines
from skyloom.serving.traces import UNDER_WAY, Underway

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def under_way() -> Iterator[None]:
    token = UNDER_WAY.set(Underway("r-1", TRACE))
    yield
    UNDER_WAY.reset(token)


def record(message: str = "it broke: %s", *words: object, broken: bool = False) -> logging.LogRecord:
    failed = None
    if broken:
        try:
            raise ValueError("a\nb")
        except ValueError:
            failed = sys.exc_info()
    return logging.LogRecord("skyloom.serving", logging.ERROR, "file.py", 7, message, words or ("why\nnot",), failed)


def test_a_line_is_one_object_with_its_moment_in_utc():
    made = record()
    line = json.loads(JsonLines().format(made))
    assert (line["level"], line["logger"], line["process"]) == ("ERROR", "skyloom.serving", made.process)
    assert line["message"] == "it broke: why\nnot"
    moment = datetime.fromisoformat(line["time"])
    assert (line["time"][-1], round(moment.timestamp(), 3)) == ("Z", int(made.created * 1e3) / 1e3)
    assert not {"request_id", "trace_id", "exception"} & set(line)


@pytest.mark.usefixtures("under_way")
def test_a_line_names_the_request_that_is_under_way():
    told = JsonLines().format(record(broken=True))
    assert "\n" not in told
    line = json.loads(told)
    assert (line["request_id"], line["trace_id"]) == ("r-1", TRACE)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: a\nb")


@pytest.mark.usefixtures("under_way")
def test_a_line_for_people():
    first, *more = TextLines().format(record("it broke: %s", "so", broken=True)).splitlines()
    told = rf"\d{{4}}-\d\d-\d\dT[0-9:.]{{12}}Z ERROR skyloom\.serving\[\d+\]: it broke: so request_id=r-1 trace_id={TRACE}"
    assert re.fullmatch(told, first)
    assert more[0] == "Traceback (most recent call last):"


def lines(server: ServerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.said().splitlines()]


def test_requests_are_logged_with_their_ids(world: World, launch: Callable[..., ServerProcess], flight: dict[str, Any]):
    """All of them, when that is asked for; the caller's id comes back where it is one."""
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key, watching={"request_ids": True, "log_requests_over": 0.0})
    said = {"7b1e-42": True, "two words": False, "x" * 129: False, "": False}
    answered: list[str] = []
    for each, sane in said.items():
        status, headers, _ = server.whole("GET", "/health/live", b"", {"X-Request-Id": each} if each else {})
        assert status == 200
        answered.append(headers["x-request-id"])
        assert answered[-1] == each if sane else re.fullmatch("[0-9a-f]{32}", answered[-1])
    status, headers, _ = server.whole("POST", "/predict/none", json.dumps(flight).encode(), {})
    assert (status, headers["x-request-id"] in answered) == (404, False)
    until(lambda: len(server.said().splitlines()) >= 5)
    told = lines(server)
    assert [line["request_id"] for line in told] == [*answered, headers["x-request-id"]]
    assert [(line["request"], line["status"]) for line in told] == [
        *[("GET /health/live", 200)] * 4,
        ("POST /predict/{model}", 404),
    ]
    assert {(line["level"], line["logger"]) for line in told} == {("INFO", "skyloom.requests")}
    assert all(0 < line["seconds"] < 60 for line in told)


def test_only_slow_and_broken_requests_are_logged_beyond_a_bound(
    world: World, launch: Callable[..., ServerProcess], flight: dict[str, Any]
):
    key, stored = mint(["admin"])
    arm = Arm(1, world.package(0.25, "raises"), 10_000, "champion")
    world.publish(world.release({"late": (arm,)}, (stored,)))
    server = launch(world, key, watching={"log_requests_over": 3_600.0, "logs": "text"})
    assert server.ask("GET", "/health/live")[0] == 200
    assert server.ask("POST", "/predict/late", flight)[0] == 500
    [line] = until(server.said).splitlines()
    assert re.search(
        r" INFO skyloom\.requests\[\d+\]: POST /predict/\{model\}: 500 in [0-9.]+ ms request_id=[0-9a-f]{32}$", line
    )
