"""Azure Functions asks its custom handler."""

import json
from typing import Any

import pytest
from clouds import SCORES, Cloud, score

from skyloom.serving.platforms import listen_on
from skyloom.serving.services import Listen

Flights = list[dict[str, Any]]
METADATA = {"sys": {"MethodName": "score", "UtcNow": "2013-04-01T07:00:00Z", "RandGuid": "0"}}


def triggered(cloud: Cloud, function: str, **data: Any) -> Any:
    answer = cloud.post(f"/{function}", {"Data": data, "Metadata": METADATA})
    assert answer.status == 200, answer
    assert set(answer.json) == {"Outputs", "Logs", "ReturnValue"}
    return answer.json


def http(body: object) -> dict[str, Any]:
    """What an HTTP trigger brings."""
    return {
        "Url": "https://example.net/api/score",
        "Method": "POST",
        "Query": {},
        "Headers": {"Content-Type": ["application/json"]},
        "Params": {},
        "Identities": [],
        "Body": body,
    }


def test_a_message_is_answered_with_the_value_returned(cloud: Cloud, flights: Flights) -> None:
    for item in (flights, json.dumps(flights), json.dumps(json.dumps(flights)), {"instances": flights}):
        done = triggered(cloud, "planned", item=item)
        assert (done["ReturnValue"], done["Outputs"], done["Logs"]) == ({"predictions": SCORES}, {}, [])


def test_a_function_with_the_name_of_a_model_asks_it(cloud: Cloud, flights: Flights) -> None:
    assert triggered(cloud, "other", item=flights)["ReturnValue"]["predictions"] == [
        score(distance, 0.5) for distance in (0.0, 100.0, 500.0)
    ]


def test_a_request_of_http_is_answered_with_an_output(cloud: Cloud, flights: Flights) -> None:
    done = triggered(cloud, "planned", req=http(json.dumps(flights)))
    assert done["Outputs"]["res"]["statusCode"] == 200
    assert done["Outputs"]["res"]["body"] == done["ReturnValue"] == {"predictions": SCORES}
    bad = triggered(cloud, "planned", req=http(json.dumps([{**flights[0], "seats": None}])))
    assert bad["Outputs"]["res"]["statusCode"] == 400
    assert "seats" in bad["Outputs"]["res"]["body"]["error"]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"Data": {"item": "["}}, "not valid JSON"),
        ({"Data": {"item": [{"seats": 1}]}}, "missing"),
        ({"Data": {}}, "the one binding"),
        ({"Data": {"a": [], "b": []}}, "the one binding"),
        ({"Metadata": {}}, "Data"),
        ([], "object"),
        ({"Data": {"item": '"' * 3}}, "not valid JSON"),
    ],
)
def test_a_message_that_cannot_be_read_fails(cloud: Cloud, sent: object, why: str) -> None:
    answer = cloud.post("/planned", sent)
    assert answer.status == 400
    assert why in answer.json["error"]


def test_whoever_asks_needs_a_key_unless_the_platform_is_trusted(cloud: Cloud) -> None:
    assert cloud.ask("POST", "/planned", {"Data": {}}, authorization="").status == 401


def test_events_of_lambda_come_over_http_too(cloud: Cloud, flights: Flights) -> None:
    records = [{"messageId": "m", "body": body, "eventSource": "aws:sqs"} for body in (json.dumps(flights), "{")]
    answer = cloud.post("/events", {"Records": records})
    assert (answer.status, answer.json) == (200, {"batchItemFailures": [{"itemIdentifier": "m"}]})
    assert cloud.post("/events", flights).json == {"predictions": SCORES}


def test_it_listens_where_the_host_says() -> None:
    told = {"FUNCTIONS_CUSTOMHANDLER_PORT": "9000"}
    assert listen_on(["azure-functions"], told, Listen(port=8080)).port == 9000
    assert listen_on(["predict"], told, Listen(port=8080)).port == 8080
