"""Requests of HTTP that reach a function as events, in each format."""

import base64
import gzip
import json
from typing import Any

import pytest
from lambda_world import Lambda
from serving_world import NOW

from skyloom.serving.aws_lambda.http_events import answer_of, request_of
from skyloom.serving.inside import Answered
from skyloom.serving.wire import Problem

ROW = {"flight_id": "f", "scheduled": NOW, "carrier": "UA", "distance": 500.0, "seats": 5, "charter": False}


def v2(path: str, body: str = "", method: str = "POST", **headers: str) -> dict[str, Any]:
    """An event of a function URL or an HTTP API."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "a=1",
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default"},
        "body": body,
        "isBase64Encoded": False,
    }


def v1(path: str, body: str | None, method: str = "POST", **headers: str) -> dict[str, Any]:
    """An event of a REST API."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": named,
        "multiValueHeaders": {name: [value] for name, value in named.items()},
        "requestContext": {"stage": "prod", "path": f"/prod{path}", "identity": {"sourceIp": "127.0.0.1"}},
        "body": body,
        "isBase64Encoded": False,
    }


def balancer(path: str, body: str, *, lists: bool, **headers: str) -> dict[str, Any]:
    """An event of an Application Load Balancer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told: dict[str, Any] = (
        {"multiValueHeaders": {name: [value] for name, value in named.items()}} if lists else {"headers": named}
    )
    context = {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/t/1"}}
    return {"requestContext": context, "httpMethod": "POST", "path": path, "body": body, "isBase64Encoded": False, **told}


def answered(function: Lambda, event: object) -> dict[str, Any]:
    outcome = function.runtime.invoke(event)
    assert outcome.kind == "response", outcome
    return outcome.json


def test_each_format_is_answered_in_its_own(function: Lambda) -> None:
    auth, body = {"authorization": f"Bearer {function.key}"}, json.dumps(ROW)
    for event in (v2("/predict/late", body, **auth), v1("/predict/late", body, **auth)):
        answer = answered(function, event)
        assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, False)
        assert json.loads(answer["body"])["score"] == 0.75
        assert answer["headers"]["content-type"] == "application/json"
    for lists in (False, True):
        answer = answered(function, balancer("/predict/late", body, lists=lists, **auth))
        assert answer["statusDescription"] == "200 OK"
        assert ("headers" in answer, "multiValueHeaders" in answer) == (not lists, lists)


def test_a_body_in_base64_and_an_answer_in_bytes(function: Lambda) -> None:
    packed = base64.b64encode(gzip.compress(json.dumps([ROW]).encode())).decode()
    accept = "application/vnd.apache.arrow.stream"
    headers = {"authorization": f"Bearer {function.key}", "content_encoding": "gzip", "accept": accept}
    answer = answered(function, {**v2("/predict", packed, **headers), "isBase64Encoded": True})
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, True)
    import pyarrow as pa

    assert pa.ipc.open_stream(base64.b64decode(answer["body"])).read_all()["score"].to_pylist() == [0.75]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (v2("/predict", json.dumps(ROW)), 401),
        (v2("/predict", json.dumps(ROW), authorization="Bearer x"), 401),
        (v2("/events", json.dumps([ROW])), 401),
        (v2("/nowhere"), 404),
        (v2("/predict", method="GET"), 405),
        (v2("/health/ready", method="GET"), 200),
        (v1("/health/live", None, "GET"), 200),
    ],
)
def test_requests_need_what_they_need_over_a_socket(function: Lambda, event: dict[str, Any], status: int) -> None:
    assert answered(function, event)["statusCode"] == status


def test_a_request_without_time_is_told_so(function: Lambda) -> None:
    event = v2("/predict", json.dumps([ROW] * 5_000), authorization=f"Bearer {function.key}")
    outcome = function.runtime.invoke(event, seconds=0.0)
    assert (outcome.kind, outcome.json["statusCode"]) == ("response", 504)


def test_a_stage_before_the_path_is_left_out() -> None:
    event = v2("/prod/predict/my%20model")
    event["requestContext"]["stage"] = "prod"
    assert request_of(event)[1].path == "/predict/my model"
    event["rawPath"] = "/production"
    assert request_of(event)[1].path == "/production"
    event["rawPath"] = "/prod"
    assert request_of(event)[1].path == "/"


def test_a_body_that_is_no_base64_is_refused() -> None:
    with pytest.raises(Problem, match="body"):
        request_of({**v2("/predict", "&&"), "isBase64Encoded": True})


def test_headers_that_come_twice_are_joined() -> None:
    event = v1("/", None, accept="a")
    event["multiValueHeaders"] = {"X-Two": ["1", "2"]}
    _, asked = request_of(event)
    assert (asked.headers["x-two"], asked.headers["accept"], asked.method, asked.body) == ("1, 2", "a", "POST", b"")


def test_a_status_without_a_name_has_a_description() -> None:
    found, _ = request_of(balancer("/", "", lists=False))
    assert answer_of(found, Answered(599, [], b""))["statusDescription"] == "599 Unknown"
