"""Requests that are not what they should be: an answer of the 400s with its reason, and everything goes on."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys import shop
from tests.journeys.journey import Project, Up, mode, now_ms, until

DEEP = 100_000


@pytest.fixture(scope="module")
def up(trained_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The shop, running."""
    directory = tmp_path_factory.mktemp("requests") / "shop"
    shutil.copytree(trained_shop, directory)
    up = Up(Project(directory))
    yield up
    up.end(9)


def order(**changes: Any) -> dict[str, Any]:
    return {"order_id": "r1", "placed": now_ms(), "shop": "shop1", "amount": 12.0, **changes}


def delivery(**changes: Any) -> dict[str, Any]:
    return {"order_id": "r1", "delivered": now_ms(), "shop": "shop1", "delay": 12.0, **changes}


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


BODIES: dict[str, tuple[Any, str]] = {
    "a missing field": (lambda row: without(row, "shop"), "shop: missing"),
    "an extra field": (lambda row: {**row, "shopp": 1}, "shopp: unknown column (did you mean shop?)"),
    "a wrong type": (lambda row: {**row, "shop": 5}, "shop: expected a string, got int"),
    "a null key": (lambda row: {**row, "order_id": None}, "order_id: expected a string, got null"),
    "a string of 1 MB": (lambda row: {**row, "shop": "x" * 900_000}, "shop: longer than 65,536 characters"),
    "a body beyond 1 MB": (lambda row: {**row, "shop": "x" * 1_000_001}, "the body is longer than 1,000,000 bytes"),
    "NaN": (lambda row: b'{"order_id": "r1", "amount": NaN}', "not valid JSON"),
    "a number beyond all": (lambda row: json.dumps(row).replace("12.0", "1e999").encode(), "umber"),
    "bad JSON": (lambda row: b'{"order_id": ', "not valid JSON"),
    "no body": (lambda row: b"", "not valid JSON"),
    "bytes that are no text": (lambda row: b'{"order_id": "\xff\xfe"}', "not valid JSON"),
    "lists in lists": (lambda row: b"[" * DEEP + b"]" * DEEP, ""),
    "objects in objects": (lambda row: b'{"shop":' * DEEP + b"1" + b"}" * DEEP, ""),
    "a number": (lambda row: b"5", "an object"),
}


@pytest.mark.parametrize("name", list(BODIES))
@pytest.mark.parametrize("where", ["predict", "events"])
def test_bad_bodies(up: Up, where: str, name: str) -> None:
    make, why = BODIES[name]
    row, path = (order(), "/predict/late") if where == "predict" else (delivery(), "/events/deliveries")
    status, answer = up.serving.post(path, make(row))
    assert 400 <= status < 500, answer
    assert why in answer["error"], answer
    assert up.serving.post("/predict/late", order())[0] == 200


def test_a_batch_names_the_row_that_is_wrong(up: Up) -> None:
    status, answer = up.serving.post("/predict/late", {"instances": [order(), order(amount="much")]})
    assert (status, answer["error"]) == (400, "instances[1]: amount: expected a number, got str")
    status, answer = up.serving.post("/events/deliveries", [delivery(order_id="kept"), delivery(delay="long")])
    assert (status, answer["accepted"]) == (202, 1)
    assert answer["rejected"] == [{"index": 1, "reason": "delay: expected a number, got str"}]


def test_an_entity_never_seen_is_answered(up: Up) -> None:
    status, answer = up.serving.post("/predict/late", order(shop="opened today", order_id="first"))
    assert status == 200
    assert 0 < answer["score"] < 1
    made = until(lambda: up.api.ask("GET", f"/api/receipts/{answer['id']}")[1].get("inputs"))
    assert made["recent_deliveries_1d"] == 0.0
    assert made["recent_delay_7d"] is None


def test_what_is_not_there(up: Up) -> None:
    assert up.serving.post("/predict/lte", order())[0] == 404
    assert "did you mean deliveries?" in up.serving.post("/events/delivery", delivery())[1]["error"]
    assert up.serving.ask("GET", "/nowhere")[0] == 404
    assert up.serving.ask("GET", "/predict/late")[0] == 405
    assert up.api.ask("GET", "/api/models/late/promote")[0] == 405
    for path in ("/api/nowhere", "/api/models/late/versions/9", "/api/models/late/versions/x", "/api/receipts/p_1"):
        status, answer = up.api.ask("GET", path)
        assert (status, "error" in answer) == (404, True), (path, answer)


def test_bad_bodies_of_the_api(up: Up) -> None:
    path = "/api/models/late/promote"
    good = {"version": 1, "reason": "because"}
    half = DEEP // 2
    deep = b'{"version":' * half + b"1" + b"}" * half
    for body in ({}, {**good, "version": "one"}, {**good, "more": 1}, b"{", b"", b"[" * DEEP, deep, b"NaN", b"\xff", [1]):
        status, answer = up.api.post(path, body)
        assert status == 400, (str(body)[:60], answer)
        assert answer["error"]
    status, answer = up.api.post(path, deep * 2)
    assert (status, answer["error"]) == (413, "the body is longer than 1,000,000 bytes")
    assert up.api.post(path, {**good, "version": 2})[0] == 404
    assert up.api.post("/api/models/lte/promote", good)[0] == 404
    status, answer = up.api.ask("GET", "/api/models")
    assert (status, answer[0]["champion"]["version"]) == (200, 1)


def test_every_door_needs_a_key(up: Up) -> None:
    private = up.project.directory / ".skyloom" / "private"
    assert mode(private) == 0o700
    assert {mode(path) for path in private.iterdir() if path.suffix != ".pub"} == {0o600}
    for client in (up.serving.without_key(), type(up.serving)(up.serving.url, up.key[:-1] + "x")):
        for path, body in (("/predict/late", order()), ("/events/deliveries", delivery()), ("/predict/nowhere", order())):
            status, answer = client.post(path, body)
            assert (status, "error" in answer) == (401, True), path
    for path in ("/api/project", "/api/models", "/api/audit", "/api/receipts/p_1"):
        assert up.api.without_key().ask("GET", path)[0] == 401, path
    assert up.api.without_key().post("/api/models/late/rollback", {"reason": "none"})[0] == 401


def test_a_key_opens_what_it_was_made_for(up: Up) -> None:
    made = up.project.json("keys", "create", "--scope", "predict")
    client = type(up.serving)(up.serving.url, made["key"])
    until(lambda: client.post("/predict/late", order())[0] == 200)
    assert client.post("/events/deliveries", delivery())[0] == 403
    assert type(up.api)(up.api.url, made["key"]).ask("GET", "/api/models")[0] == 403
    up.project.json("keys", "revoke", made["prefix"])
    until(lambda: client.post("/predict/late", order())[0] == 401)


def test_a_second_up_is_refused_with_the_pid_of_the_first(up: Up) -> None:
    refusal = up.project.refused("up")
    assert refusal.error == f"skyloom up already runs here, as process {up.pid}"
    assert refusal.next == f"kill {up.pid}"
    assert up.serving.post("/predict/late", order())[0] == 200


def test_nothing_refused_has_come_in(up: Up) -> None:
    for make, _ in BODIES.values():
        assert up.serving.post("/events/deliveries", make(delivery()))[0] >= 400
    assert up.serving.post("/events/deliveries", [delivery(order_id="kept"), delivery(delay="long")])[0] == 202
    up.project.json("ingest", "orders")  # again the same rows: the worker brings everything into the lake
    events = [row["order_id"] for row in up.project.lake("events/deliveries")]
    assert len(events) == shop.ORDERS + 1
    assert events.count("kept") == 1
    assert len(up.project.lake("events/orders")) == shop.ORDERS
