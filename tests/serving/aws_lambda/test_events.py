"""The events of AWS, asked by the runtime API as a sandbox asks."""

import base64
import gzip
import json
from typing import Any

import pytest
from clouds import score
from lambda_runtime import FakeRuntime
from lambda_world import Function, Lambda
from serving_world import NOW, World, until

ROW = {"flight_id": "f", "scheduled": NOW, "carrier": "UA", "distance": 500.0, "seats": 5, "charter": False}
CSV = """flight_id,scheduled,carrier,distance,seats,charter
f1,2013-04-01T07:00:00Z,UA,0,5,false
f2,2013-04-01T07:00:00Z,UA,500,5,false
"""


def sqs(*bodies: str, **attributes: str) -> dict[str, Any]:
    told = {name.replace("_", "-"): {"stringValue": value, "dataType": "String"} for name, value in attributes.items()}
    return {
        "Records": [
            {"messageId": f"m{i}", "receiptHandle": "h", "body": body, "attributes": {}, "messageAttributes": told}
            | {"md5OfBody": "", "eventSource": "aws:sqs", "awsRegion": "eu-west-1"}
            for i, body in enumerate(bodies)
        ]
    }


def kinesis(*bodies: bytes) -> dict[str, Any]:
    return {
        "Records": [
            {"kinesis": {"partitionKey": "p", "sequenceNumber": f"{i}", "data": base64.b64encode(body).decode()}}
            | {"eventSource": "aws:kinesis", "eventID": f"shardId-000000000000:{i}"}
            for i, body in enumerate(bodies)
        ]
    }


def s3(bucket: str, key: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    place = {"bucket": {"name": bucket}, "object": {"key": key, "size": 3}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": name, "s3": place}]}


def failed(function: Lambda, event: object) -> list[str]:
    outcome = function.runtime.invoke(event)
    assert outcome.kind == "response", outcome
    assert list(outcome.json) == ["batchItemFailures"]
    return [each["itemIdentifier"] for each in outcome.json["batchItemFailures"]]


def logged(world: World, *units: str) -> set[str]:
    return {each.unit for each in world.receipts() if each.unit in units}


def test_whoever_invokes_it_with_rows_gets_predictions(function: Lambda) -> None:
    for event, found in (([ROW, ROW], [0.75, 0.75]), (ROW, [0.75]), ({"instances": [ROW]}, [0.75]), ([], [])):
        outcome = function.runtime.invoke(event)
        assert (outcome.kind, outcome.json) == ("response", {"predictions": found})
    asked = {"instances": [ROW], "parameters": {"outputs": ["score", "label"]}}
    assert function.runtime.invoke(asked).json == {"predictions": [{"score": 0.75, "label": True}]}


def test_receipts_are_in_the_log_before_the_next_invocation_is_asked_for(function: Lambda) -> None:
    function.runtime.invoke([{**ROW, "flight_id": "settled"}])
    function.runtime.invoke([{**ROW, "flight_id": "settled-2"}])
    until(lambda: function.runtime.asks > function.runtime.given)
    assert logged(function.world, "settled", "settled-2") == {"settled", "settled-2"}


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        ([{**ROW, "seats": "many"}], "BadRequest", "seats: expected a whole number"),
        ({"nothing": "known"}, "BadRequest", "nothing"),
        (b"{", "BadRequest", "not valid JSON"),
        ({"Records": [{"eventSource": "aws:dynamodb"}]}, "BadRequest", "not from aws:dynamodb"),
        ({"Records": [{"eventSource": ["x"]}]}, "BadRequest", "records come from"),
        ({"Records": [3]}, "BadRequest", "Records: expected objects"),
        ({"Records": [{"eventSource": "aws:sqs"}]}, "BadRequest", "messageId"),
        ({"detail-type": "x", "detail": {"x": 10**30}}, "BadRequest", "the event cannot be read"),
        ({"detail-type": "x", "source": "s", "detail": {**ROW, "seats": 10**30}}, "BadRequest", "seats"),
        (s3("in", "none.csv"), "BadRequest", "s3://in/none.csv"),
        ({"requestContext": {"http": {"method": 3}}}, "BadRequest", "no request of HTTP"),
    ],
)
def test_an_event_that_cannot_be_answered_fails_with_a_reason(
    function: Lambda, event: object, kind: str, message: str
) -> None:
    outcome = function.runtime.invoke(event)
    assert (outcome.kind, outcome.error_type, outcome.json["errorType"]) == ("error", kind, kind), outcome
    assert message in outcome.json["errorMessage"]
    assert "stackTrace" in outcome.json


def test_messages_that_cannot_be_read_come_again_alone(function: Lambda) -> None:
    good = json.dumps({**ROW, "flight_id": "sqs"})
    bad = json.dumps({**ROW, "seats": None})
    assert failed(function, sqs(good, "{", good, bad, "")) == ["m1", "m3", "m4"]
    assert failed(function, sqs(good)) == []
    assert failed(function, sqs(CSV, Content_Type="text/csv")) == []
    assert failed(function, sqs(CSV)) == ["m0"]


def test_a_stream_goes_on_from_the_first_record_that_failed(function: Lambda) -> None:
    rows = [json.dumps({**ROW, "flight_id": f"k{i}"}).encode() for i in range(4)]
    assert failed(function, kinesis(*rows)) == []
    late = [json.dumps({**ROW, "flight_id": f"n{i}"}).encode() for i in range(3)]
    assert failed(function, kinesis(late[0], late[1], b"no JSON", late[2])) == ["2"]
    until(lambda: logged(function.world, "n0", "n1") == {"n0", "n1"})
    assert logged(function.world, "n2") == set(), "it comes again with the one before it"
    damaged = kinesis(rows[0], rows[1])
    damaged["Records"][0]["kinesis"]["data"] = "&"
    assert failed(function, damaged) == ["0"]


def test_objects_are_read_by_their_decoded_names_and_scored_beside_them(function: Lambda) -> None:
    stored = function.stored
    stored.objects["in", "red flower+1.csv"] = CSV.encode()
    stored.objects["in", "rows.json.gz"] = gzip.compress(json.dumps([ROW]).encode())
    stored.objects["in", "unnamed"] = json.dumps(ROW).encode()
    stored.types["in", "unnamed"] = "application/json"
    done = function.runtime.invoke(s3("in", "red+flower%2B1.csv")).json
    target = "scored/red flower+1.csv.jsonl"
    assert done == {"objects": [{"bucket": "in", "key": "red flower+1.csv", "rows": 2, "output": f"s3://out/{target}"}]}
    lines = [json.loads(line) for line in stored.objects["out", target].splitlines()]
    assert [line["score"] for line in lines] == [0.25, 0.75]
    assert set(lines[0]) == {"score", "label", "receipt", "version"}
    assert function.runtime.invoke(s3("in", "rows.json.gz")).json["objects"][0]["rows"] == 1
    assert function.runtime.invoke(s3("in", "unnamed")).json["objects"][0]["rows"] == 1
    assert function.runtime.invoke(s3("out", target)).json == {"objects": []}, "what it wrote is not scored again"
    assert function.runtime.invoke(s3("in", "gone.csv", "ObjectRemoved:Delete")).json == {"objects": []}
    assert function.runtime.invoke({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "in"}).json == {}


def test_a_bus_brings_rows_and_objects_whose_names_are_plain(function: Lambda) -> None:
    event = {"version": "0", "id": "e", "detail-type": "flight planned", "source": "planning", "detail": ROW}
    assert function.runtime.invoke(event).json == {"predictions": [0.75]}
    function.stored.objects["in", "a+b%2F.csv"] = CSV.encode()
    place = {"bucket": {"name": "in"}, "object": {"key": "a+b%2F.csv", "version-id": "7"}}
    made = {"detail-type": "Object Created", "source": "aws.s3", "detail": place}
    assert function.runtime.invoke(made).json["objects"][0]["output"] == "s3://out/scored/a+b%2F.csv.jsonl"


def test_an_object_that_is_too_long_is_refused(function: Lambda) -> None:
    function.stored.objects["in", "long.csv"] = b"x" * (6 * 2**20 + 1)
    outcome = function.runtime.invoke(s3("in", "long.csv"))
    assert outcome.kind == "error"
    assert "skyloom score takes any number" in outcome.json["errorMessage"]


def test_after_its_deadline_an_invocation_is_given_up_and_the_next_one_is_answered(function: Lambda) -> None:
    outcome = function.runtime.invoke([ROW] * 20_000, seconds=0.0)
    assert (outcome.kind, outcome.error_type) == ("error", "DeadlineExceeded")
    assert function.runtime.invoke([ROW]).json == {"predictions": [score(500.0)]}


def test_a_function_without_a_release_says_so_and_ends(tmp_path: Any) -> None:
    world = World(tmp_path)
    with FakeRuntime() as runtime:
        started = Function(world.folder, runtime, {})
        try:
            said = runtime.started.get(timeout=60)
            assert (said.error_type, said.json["errorType"]) == ("Skyloom.NoRelease", "Skyloom.NoRelease")
            assert started.process.wait(60) == 1
        finally:
            started.end()


def test_invocations_at_a_time_are_answered_at_a_time(function_world: World) -> None:
    with FakeRuntime() as runtime:
        started = Function(function_world.folder, runtime, {"AWS_LAMBDA_MAX_CONCURRENCY": "3"})
        try:
            until(lambda: runtime.asks == 3)
            assert runtime.invoke([ROW]).json == {"predictions": [0.75]}
        finally:
            started.end()


def test_a_function_whose_sandbox_ends_ends_cleanly(function_world: World) -> None:
    with FakeRuntime() as runtime:
        started = Function(function_world.folder, runtime, {})
        assert runtime.invoke([ROW]).kind == "response"
    try:
        assert started.process.wait(60) == 0, started.said()
    finally:
        started.end()
