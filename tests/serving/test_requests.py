"""Requests, good and bad, over real HTTP."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_world import LANDINGS, NOW, PATIENCE_S, Arm, ServerProcess, World, mint, until

Served = tuple[World, ServerProcess]
Flight = dict[str, Any]


def score(distance: float, base: float = 0.25, landings: int = 0) -> float:
    """What the model answers, worked out without it."""
    f = np.float32
    return float((f(distance) * f(0.001) + f(landings) * f(0.01)) + f(base))


def test_one_request_is_answered_and_its_receipt_says_everything(served: Served, flight: Flight) -> None:
    world, server = served
    status, answer = server.ask("POST", "/predict/late", {**flight, "flight_id": "whole"})
    assert status == 200
    assert (answer["model"], answer["version"], answer["score"], answer["label"]) == ("late", 1, score(100), False)
    receipt = until(lambda: [each for each in world.receipts() if each.id == answer["id"]])[0]
    assert (receipt.score, receipt.arm, receipt.unit, receipt.at_ms) == (answer["score"], "champion", "whole", NOW)
    assert receipt.inputs == ("UA", 100.0, NOW // 3_600_000 % 24, 0.0)
    assert receipt.request == {**flight, "flight_id": "whole"}
    assert receipt.release.startswith(answer["release"])
    assert receipt.as_of == {"landings": world.log.end("events/landings") and receipt.as_of["landings"]}


def test_the_label_is_true_from_the_threshold_on(served: Served, flight: Flight) -> None:
    _, server = served
    answers = [server.ask("POST", "/predict", {**flight, "distance": d})[1] for d in (249.0, 251.0)]
    assert [answer["label"] for answer in answers] == [False, True]


@pytest.mark.parametrize("count", [0, 1, 40])
def test_many_instances_answer_as_each_alone(served: Served, flight: Flight, count: int) -> None:
    _, server = served
    rows = [{**flight, "flight_id": f"m{i}", "distance": i * 10.0} for i in range(count)]
    status, answer = server.ask("POST", "/predict/late", {"instances": rows})
    assert status == 200
    assert [each["score"] for each in answer["predictions"]] == [score(i * 10.0) for i in range(count)]
    assert len({each["id"] for each in answer["predictions"]}) == count


def test_a_value_that_reads_like_the_word_instances_is_a_value(served: Served, flight: Flight) -> None:
    _, server = served
    assert server.ask("POST", "/predict", {**flight, "carrier": "instances"})[0] == 200


@pytest.mark.parametrize("moment", [NOW, "2013-04-01T07:06:40Z", "2013-04-01T09:06:40+02:00"])
def test_times_are_milliseconds_or_text(served: Served, flight: Flight, moment: object) -> None:
    world, server = served
    status, answer = server.ask("POST", "/predict", {**flight, "scheduled": moment})
    assert status == 200
    receipt = until(lambda: [each for each in world.receipts() if each.id == answer["id"]])[0]
    assert receipt.at_ms == NOW


@pytest.mark.parametrize("carrier", [None, "never seen", "", "é" * 1000])
def test_an_entity_that_nobody_knows_gets_an_answer(served: Served, flight: Flight, carrier: str | None) -> None:
    _, server = served
    status, answer = server.ask("POST", "/predict", {**flight, "carrier": carrier})
    assert (status, answer["score"]) == (200, score(100))


BAD: list[tuple[str, Any, int, str]] = [
    ("wrong type", {"carrier": 3}, 400, "carrier: expected a string"),
    ("a number as text", {"distance": "far"}, 400, "distance: expected a number"),
    ("a fraction for a whole number", {"seats": 1.5}, 400, "seats: expected a whole number"),
    ("true for a number", {"seats": True}, 400, "seats: expected a whole number"),
    ("null where none may be", {"seats": None}, 400, "seats: expected a whole number"),
    ("extra field", {"carier": "UA"}, 400, "carier: unknown column (did you mean carrier?)"),
    ("a long string", {"carrier": "x" * 65_537}, 400, "carrier: longer than 65,536 characters"),
    ("64 bits exceeded", {"seats": 2**63}, 400, "seats: "),
    ("before 1970", {"scheduled": -1}, 400, "scheduled: -1 ms"),
    ("after the calendar", {"scheduled": 10**17}, 400, "scheduled: "),
    ("no time", {"scheduled": "tomorrow"}, 400, "scheduled"),
    ("a list", {"carrier": ["UA"]}, 400, "carrier: expected a string"),
]


@pytest.mark.parametrize(("change", "status", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_field_is_named(served: Served, flight: Flight, change: Flight, status: int, says: str) -> None:
    _, server = served
    found, answer = server.ask("POST", "/predict/late", {**flight, **change})
    assert (found, says in answer["error"]) == (status, True), answer
    found, answer = server.ask("POST", "/predict/late", {"instances": [flight, {**flight, **change}]})
    assert (found, answer["error"].startswith("instances[1]: "), says in answer["error"]) == (status, True, True), answer


def test_a_missing_field_is_named(served: Served, flight: Flight) -> None:
    _, server = served
    del flight["seats"]
    assert server.ask("POST", "/predict", flight) == (400, {"error": "seats: missing"})


RAW: list[tuple[str, bytes, int]] = [
    ("nothing", b"", 400),
    ("no JSON", b"{", 400),
    ("NaN", b'{"flight_id":"a","scheduled":1,"seats":1,"charter":false,"distance":NaN}', 400),
    ("Infinity", b'{"flight_id":"a","scheduled":1,"seats":1,"charter":false,"distance":Infinity}', 400),
    ("1e999", b'{"flight_id":"a","scheduled":1,"seats":1,"charter":false,"distance":1e999}', 400),
    ("a million digits", b'{"flight_id":"a","scheduled":1,"seats":' + b"1" * 900_000 + b',"charter":false}', 400),
    ("lists, 100,000 deep", b"[" * 100_000, 400),
    ("objects, 100,000 deep", b'{"carrier":' * 70_000, 400),
    ("instances, 100,000 deep", b'{"instances":' + b"[" * 100_000, 400),
    ("a deep unknown field", b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    ("a lone surrogate", b'{"flight_id":"\\ud800","scheduled":1,"seats":1,"charter":false}', 400),
    ("bytes that are no UTF-8", b'{"flight_id":"\xff","scheduled":1,"seats":1,"charter":false}', 400),
    ("a byte-order mark", b"\xef\xbb\xbf{}", 400),
    ("a list", b"[]", 400),
    ("null", b"null", 400),
    ("instances that are no list", b'{"instances": 3}', 400),
    ("instances of nothing", b'{"instances": [null]}', 400),
    ("instances and more", b'{"instances": [], "x": 1}', 400),
    ("a string of a megabyte", b'{"flight_id":"' + b"x" * 900_000 + b'","scheduled":1,"seats":1,"charter":false}', 400),
    ("a body over the limit", b'{"flight_id":"' + b"x" * 3_000_000 + b'"}', 413),
]


@pytest.mark.parametrize(("body", "status"), [case[1:] for case in RAW], ids=[case[0] for case in RAW])
@pytest.mark.parametrize("path", ["/predict/late", "/v2/models/late/infer", "/events/landings"])
def test_a_bad_body_gets_a_reason_and_never_a_5xx(served: Served, path: str, body: bytes, status: int) -> None:
    _, server = served
    found, answer = server.ask("POST", path, body)
    if path == "/events/landings" and body == b"[]":
        assert (found, answer) == (202, {"accepted": 0, "first_offset": None, "rejected": [], "rejected_rows": 0})
    else:
        assert (found, bool(answer["error"])) == (status, True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=60, deadline=None)
@given(
    change=st.dictionaries(
        st.sampled_from(["flight_id", "scheduled", "carrier", "distance", "seats", "charter", "instances", "x"]), JSON
    ),
    path=st.sampled_from(["/predict/late", "/events/landings", "/v2/models/late/infer"]),
)
def test_any_json_gets_an_answer_that_is_no_5xx(served: Served, change: Flight, path: str) -> None:
    _, server = served
    good = {"flight_id": "h", "scheduled": NOW, "carrier": "UA", "distance": 1.0, "seats": 1, "charter": True}
    status, answer = server.ask("POST", path, {**good, **change})
    null = change.get("distance", 0) is None
    assert status < 500 or (null and "nan" in answer["error"]), answer  # this model answers NaN when there is no distance


def test_a_chunked_body_over_the_limit_is_refused(served: Served) -> None:
    _, server = served
    chunk = b"%x\r\n%s\r\n" % (100_000, b"x" * 100_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        head = f"POST /predict/late HTTP/1.1\r\nHost: x\r\nX-API-Key: {server.key}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + chunk * 12 + b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_does_not_send_its_body_is_cut_and_holds_nobody_up(served: Served, flight: Flight) -> None:
    _, server = served
    head = f"POST /predict/late HTTP/1.1\r\nHost: x\r\nX-API-Key: {server.key}\r\nContent-Length: 100\r\n\r\nabc"
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) for _ in range(20)]
    try:
        for each in slow:
            each.sendall(head.encode())
        assert server.ask("POST", "/predict", flight)[0] == 200
        assert all(each.recv(100).startswith(b"HTTP/1.1 408 ") for each in slow)
    finally:
        for each in slow:
            each.close()


def test_a_model_without_an_answer_is_a_500_with_a_receipt_that_says_so(served: Served, flight: Flight) -> None:
    world, server = served
    status, answer = server.ask("POST", "/predict/late", {**flight, "distance": None, "flight_id": "nan"})
    assert (status, "the model answered nan" in answer["error"]) == (500, True)
    receipt = until(lambda: [each for each in world.receipts() if each.unit == "nan"])[0]
    assert (receipt.score, receipt.error, receipt.id in answer["error"]) == (None, "the model answered nan", True)


def test_unknown_models_and_paths(served: Served, flight: Flight) -> None:
    _, server = served
    assert server.ask("POST", "/predict/other", flight)[0] == 404
    assert server.ask("POST", "/nowhere", flight)[0] == 404
    assert server.ask("GET", "/predict/late")[0] == 405
    assert server.ask("POST", "/predict/", flight)[0] == 404


def test_every_route_but_health_needs_a_key_of_its_scope(tmp_path: Path, launch: Any) -> None:
    world = World(tmp_path, windowed=False)
    keys = {scope: mint([scope]) for scope in ("predict", "ingest", "read")}
    arm = Arm(1, world.package(0.25), 10_000, "champion")
    world.publish(world.release({"late": (arm,)}, tuple(stored for _, stored in keys.values())))
    server = launch(world, "")
    routes = [
        ("POST", "/predict", "predict"),
        ("POST", "/predict/late", "predict"),
        ("POST", "/events/landings", "ingest"),
        ("GET", "/metrics", "read"),
        ("GET", "/v2", "read"),
        ("GET", "/v2/models/late", "predict"),
        ("GET", "/v2/models/late/versions/1/ready", "predict"),
        ("POST", "/v2/models/late/infer", "predict"),
    ]
    for method, path, scope in routes:
        body = b"{}" if method == "POST" else None
        assert server.ask(method, path, body)[0] == 401, path
        assert server.ask(method, path, body, key=mint(["admin"])[0])[0] == 401, path
        assert server.ask(method, path, body, {"Authorization": "Basic abc"})[0] == 401, path
        for other, (key, _) in keys.items():
            found = server.ask(method, path, body, key=key)[0]
            assert (found == 403) is (other != scope), (path, other, found)
            assert server.ask(method, path, body, {"X-API-Key": key})[0] == found
    for path in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"):
        assert server.ask("GET", path)[0] == 200


def test_events_are_on_the_disk_when_they_are_acknowledged(served: Served) -> None:
    world, server = served
    before = world.log.end("events/landings")
    rows: list[Any] = [{"flight_id": f"e{i}", "landed": NOW, "carrier": "UA", "delay": 1.0} for i in range(3)]
    status, answer = server.ask("POST", "/events/landings", [*rows, {"flight_id": "e9"}])
    assert (status, answer["accepted"]) == (202, 3)
    assert answer["rejected"] == [{"index": 3, "reason": "landed: missing"}]
    assert world.log.end("events/landings") == before + 3
    assert world.log.end(f"quarantine/{LANDINGS.name}") >= 1
    status, answer = server.ask("POST", "/events/landings", {"flight_id": "e9"})
    assert (status, answer["accepted"], "landed: missing" in answer["error"]) == (400, 0, True)
    assert server.ask("POST", "/events/flights", [])[0] == 404


def test_events_from_many_at_once_all_arrive_once(served: Served) -> None:
    world, server = served
    before = world.log.end("events/landings")
    answers: list[int] = []

    def send(sender: int) -> None:
        for i in range(20):
            row = {"flight_id": f"s{sender}-{i}", "landed": NOW, "carrier": "AA", "delay": 0.0}
            answers.append(server.ask("POST", "/events/landings", row)[1]["accepted"])

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), sum(answers)) == (120, 120)
    assert world.log.end("events/landings") == before + 120


def test_metrics_count_what_happened(served: Served, flight: Flight) -> None:
    _, server = served

    def count() -> float:
        lines = server.ask("GET", "/metrics")[1].splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("skyloom_predictions_total{"))

    before = count()
    server.ask("POST", "/predict", {"instances": [flight] * 7})
    assert count() == before + 7


def test_json_numbers_come_back_as_they_are(served: Served, flight: Flight) -> None:
    _, server = served
    answer = server.ask("POST", "/predict", json.dumps(flight).replace("100.0", "1e2").encode())[1]
    assert answer["score"] == score(100)
