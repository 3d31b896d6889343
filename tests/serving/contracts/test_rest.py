"""Each contract as its platform and its clients ask: over plain HTTP."""

import base64
import gzip
import io
import json
from typing import Any

import pyarrow as pa
import pytest
from clouds import SCORES, Cloud, score
from pyarrow import parquet
from serving_world import until

from skyloom.serving.formats.media import ARROW_FILE, ARROW_STREAM, CSV, LINES, PARQUET

Flights = list[dict[str, Any]]


def csv_of(flights: Flights, header: bool = False) -> bytes:
    lines = [",".join(flights[0])] if header else []
    cells = [[str(value).lower() if isinstance(value, bool) else str(value) for value in row.values()] for row in flights]
    return "\n".join([*lines, *(",".join(row) for row in cells)]).encode()


# SageMaker


def test_sagemaker_ping_is_a_status_without_a_body(cloud: Cloud) -> None:
    for method in ("GET", "POST", "HEAD"):
        answer = cloud.ask(method, "/ping")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers.get("content-length", "0") == "0"


def test_sagemaker_invocations_take_rows_in_any_format(cloud: Cloud, flights: Flights) -> None:
    wanted = {"predictions": SCORES}
    table = pa.Table.from_pylist(flights)
    files = io.BytesIO()
    parquet.write_table(table, files)
    bodies: list[tuple[str, object]] = [
        ("text/csv", csv_of(flights)),
        ("text/csv; header=present", csv_of(flights, header=True)),
        ("application/json", {"instances": flights}),
        ("application/json", {"instances": [{"features": list(row.values())} for row in flights]}),
        ("application/jsonlines", b"\n".join(json.dumps(row).encode() for row in flights)),
        ("application/x-parquet", files.getvalue()),
    ]
    for content_type, body in bodies:
        answer = cloud.post("/invocations", body, content_type=content_type)
        assert (answer.status, answer.json) == (200, wanted), content_type
    assert cloud.post("/invocations", {"instances": flights}).json == wanted  # no type at all is JSON


def test_answers_come_in_the_format_that_is_accepted(cloud: Cloud, flights: Flights) -> None:
    def asked(accept: str) -> bytes:
        answer = cloud.post("/invocations", csv_of(flights), content_type=CSV, accept=accept)
        assert answer.status == 200, answer
        return answer.body

    assert asked(CSV) == "".join(f"{each}\n" for each in SCORES).encode()
    assert asked("text/csv;header=present;outputs=label+score").splitlines()[:2] == [b"label,score", b"false,0.25"]
    assert asked("application/jsonlines").splitlines()[0] == b'{"score":0.25}'
    assert json.loads(asked("application/json; outputs=version+score"))["predictions"][0] == {"version": 1, "score": 0.25}
    tables = [
        pa.ipc.open_stream(asked(ARROW_STREAM)).read_all(),
        pa.ipc.open_file(asked(ARROW_FILE)).read_all(),
        parquet.read_table(pa.BufferReader(asked(PARQUET))),
    ]
    for table in tables:
        assert table["score"].to_pylist() == SCORES
        assert table["label"].to_pylist() == [False, False, True]
        assert table.column_names == ["score", "label", "receipt", "version"]
    refused = cloud.post("/invocations", csv_of(flights), content_type=CSV, accept="image/png")
    assert (refused.status, "not as image/png" in refused.json["error"]) == (406, True)
    bad = cloud.post("/invocations", csv_of(flights), content_type=CSV, accept="text/csv;outputs=colour")
    assert bad.json["error"] == "there is no output colour; there are score, label, receipt, version"


def test_sagemaker_echoes_what_it_keeps_of_a_request(cloud: Cloud, flights: Flights) -> None:
    kept = {"x_amzn_sagemaker_custom_attributes": "trace=00-ab;x=1", "x_amzn_sagemaker_inference_id": "order-7"}
    answer = cloud.post("/invocations", {"instances": flights[:1]}, **kept)
    assert {name: answer.headers[name.replace("_", "-")] for name in kept} == kept
    [receipt] = until(lambda: [r for r in cloud.world.receipts() if r.id == answer.headers["x-skyloom-receipt"]])
    assert receipt.unit == "c0"


def test_bodies_may_be_packed(cloud: Cloud, flights: Flights) -> None:
    body = gzip.compress(json.dumps({"instances": flights * 100}).encode())
    answer = cloud.post("/invocations", body, content_encoding="gzip", accept_encoding="gzip")
    assert json.loads(gzip.decompress(answer.body))["predictions"] == SCORES * 100
    bomb = gzip.compress(b" " * 10_000_000)
    assert cloud.post("/invocations", bomb, content_encoding="gzip").status == 413


def test_errors_of_invocations_have_the_keys_of_everybody(cloud: Cloud, flights: Flights) -> None:
    answer = cloud.post("/invocations", {"instances": [{**flights[0], "seats": "many"}]})
    why = "instances[0]: seats: expected a whole number, got str"
    assert (answer.status, answer.json) == (400, {"error": why, "error_code": "BAD_REQUEST", "message": why})
    assert cloud.post("/invocations", b"x", content_type="application/x-npy").status == 415
    assert cloud.post("/invocations", csv_of(flights), content_type="text/csv; charset=latin-1").status == 415
    wrong = cloud.post("/invocations", {"instances": flights}, authorization="Bearer no")
    assert (wrong.status, wrong.json["error_code"]) == (401, "UNAUTHENTICATED")


def test_sagemaker_tells_batch_transform_how_much_it_takes(cloud: Cloud) -> None:
    told = cloud.ask("GET", "/execution-parameters").json
    assert told == {"MaxConcurrentTransforms": 4, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}
    assert cloud.post("/invocations", b" " * (6 * 2**20 + 1)).status == 413


def test_tensors_come_to_invocations_too(cloud: Cloud, flights: Flights) -> None:
    types = {"flight_id": "BYTES", "scheduled": "INT64", "carrier": "BYTES", "distance": "FP64", "seats": "INT64"}
    inputs = [
        {"name": name, "datatype": kind, "shape": [3], "data": [row[name] for row in flights]}
        for name, kind in {**types, "charter": "BOOL"}.items()
    ]
    answer = cloud.post("/invocations", {"id": "7", "inputs": inputs, "outputs": [{"name": "score"}]})
    assert (answer.status, answer.json["id"], answer.json["outputs"][0]["data"]) == (200, "7", SCORES)
    assert answer.json["model_name"] == "late"


def test_tensors_come_as_bytes_through_the_only_header_that_sagemaker_keeps(cloud: Cloud, flights: Flights) -> None:
    types = {"flight_id": "BYTES", "scheduled": "INT64", "carrier": "BYTES", "seats": "INT64", "charter": "BOOL"}
    inputs: list[dict[str, Any]] = [
        {"name": name, "datatype": kind, "shape": [3], "data": [row[name] for row in flights]}
        for name, kind in types.items()
    ]
    raw = pa.array([row["distance"] for row in flights], pa.float64()).to_numpy().tobytes()
    inputs.append({"name": "distance", "datatype": "FP64", "shape": [3], "parameters": {"binary_data_size": len(raw)}})
    head = json.dumps({"inputs": inputs, "outputs": [{"name": "score"}]}).encode()
    media = f"application/vnd.sagemaker-triton.binary+json;json-header-size={len(head)}"
    answer = cloud.post("/invocations", head + raw, content_type=media)
    assert (answer.status, answer.json["outputs"][0]["data"]) == (200, SCORES)
    vertex = f"application/vnd.vertex-ai-triton.binary+json;json-header-size={len(head)}"
    answer = cloud.post("/v1/endpoints/12/deployedModels/34:predict", head + raw, content_type=vertex)
    assert (answer.status, answer.json["outputs"][0]["data"]) == (200, SCORES)


# MLflow, beside its own client


def test_mlflow_says_who_it_is(cloud: Cloud) -> None:
    assert cloud.ask("GET", "/health").status == 200
    assert cloud.ask("GET", "/version").body.startswith(b"0.")
    for key in ("params", "parameters", "signature_name"):
        answer = cloud.post("/invocations", {"inputs": {"flight_id": []}, key: {"unknown": 1}})
        assert (answer.status, answer.json) == (200, {"predictions": []})


# Vertex


def test_vertex_answers_where_it_looks_by_default(cloud: Cloud, flights: Flights) -> None:
    place = "/v1/endpoints/12/deployedModels/34"
    assert cloud.ask("GET", place).status == 200
    body = {"instances": flights, "parameters": {"confidence": 1}}
    assert cloud.post(f"{place}:predict", body).json == {"predictions": SCORES}
    raw = cloud.post(f"{place}:predict", csv_of(flights), content_type=CSV, accept=CSV)
    assert raw.body.splitlines()[0] == b"0.25"
    assert list(cloud.post(f"{place}:predict", {"instances": [1]}).json) == ["error"]
    body = {"instances": flights, "parameters": {"outputs": ["score", "label"]}}
    assert cloud.post(f"{place}:predict", body).json["predictions"][2] == {"score": SCORES[2], "label": True}


# Azure


def test_azure_scores_and_echoes_ids(cloud: Cloud, flights: Flights) -> None:
    data = {"columns": list(flights[0]), "index": [0, 1, 2], "data": [list(row.values()) for row in flights]}
    ids = {"x_ms_client_request_id": "a-1", "x_request_id": "b-2"}
    for body in ({"input_data": data}, {"data": flights}, flights):
        answer = cloud.post("/score", body, **ids)
        assert (answer.status, answer.json) == (200, SCORES)
        assert {name: answer.headers[name.replace("_", "-")] for name in ids} == ids
    assert cloud.ask("GET", "/").status == 200


def test_azure_describes_itself(cloud: Cloud) -> None:
    told = cloud.ask("GET", "/swagger.json").json
    row = told["paths"]["/score"]["post"]["parameters"][0]["schema"]["properties"]["input_data"]["items"]
    assert (told["swagger"], told["info"]) == ("2.0", {"title": "late", "version": "1"})
    assert row["required"] == ["flight_id", "scheduled", "seats", "charter"]
    assert row["properties"]["distance"] == {"type": "number", "format": "double"}


# TensorFlow Serving


def test_tensorflow_rows_and_columns(cloud: Cloud, flights: Flights) -> None:
    path = "/v1/models/other/versions/3:predict"
    scores = [score(row["distance"], 0.5) for row in flights]
    assert cloud.post(path, {"signature_name": "x", "instances": flights}).json == {"predictions": scores}
    nested = [{name: [value] for name, value in row.items()} for row in flights]
    assert cloud.post(path, {"instances": nested}).json == {"predictions": scores}
    columns = {name: [[row[name]] for row in flights] for name in flights[0]}
    assert cloud.post(path, {"inputs": columns}).json == {"outputs": scores}
    both = {"inputs": columns, "parameters": {"outputs": ["score", "label"]}}
    assert cloud.post(path, both).json == {"outputs": {"score": scores, "label": [True] * 3}}
    bare = cloud.post(path, {"instances": flights}, content_type="application/x-www-form-urlencoded")
    assert bare.json == {"predictions": scores}
    many = cloud.post(path, {"instances": flights * 300})
    assert many.json == {"predictions": scores * 300}


def test_tensorflow_texts_may_be_bytes(cloud: Cloud, flights: Flights) -> None:
    encoded = {**flights[0], "carrier": {"b64": base64.b64encode(b"UA").decode()}}
    assert cloud.post("/v1/models/late:predict", {"instances": [encoded]}).json == {"predictions": SCORES[:1]}
    broken = cloud.post("/v1/models/late:predict", {"instances": [{**flights[0], "carrier": {"b64": "%"}}]})
    assert (broken.status, "b64" in broken.json["error"]) == (400, True)


def test_tensorflow_classifies_and_regresses_examples(cloud: Cloud, flights: Flights) -> None:
    common = {"carrier": "UA", "seats": 5}
    examples = [{name: value for name, value in row.items() if name not in common} for row in flights]
    answer = cloud.post("/v1/models/late:regress", {"context": common, "examples": examples}).json
    assert answer["results"] == answer["result"] == SCORES
    answer = cloud.post("/v1/models/late/versions/1:classify", {"examples": flights}).json
    assert answer["results"] == [[["false", 1 - each], ["true", each]] for each in SCORES]


@pytest.mark.parametrize(
    ("verb", "body", "says"),
    [
        ("predict", {"instances": [], "inputs": {}}, "give one of instances and inputs, not both"),
        ("predict", {"x": 1}, "give rows in instances, or columns in inputs"),
        ("predict", [], "the body is no object"),
        ("predict", {"instances": [[1]]}, "1 values for the columns"),
        ("regress", {"instances": []}, "examples: expected a list"),
        ("classify", {"examples": [3]}, "row 0: expected an object"),
    ],
)
def test_tensorflow_says_what_is_wrong(cloud: Cloud, verb: str, body: object, says: str) -> None:
    answer = cloud.post(f"/v1/models/late:{verb}", body)
    assert (answer.status, list(answer.json), says in answer.json["error"]) == (400, ["error"], True), answer


def test_tensorflow_tells_the_state_of_a_model(cloud: Cloud) -> None:
    fine = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    told = cloud.ask("GET", "/v1/models/late").json
    assert (told["model_version_status"], told["name"], told["ready"]) == ([fine], "late", True)
    assert cloud.ask("GET", "/v1/models/nobody").status == 404
    assert cloud.ask("GET", "/v1/models/late/versions/9").status == 404


# TorchServe


def test_torchserve_answers_as_a_handler(cloud: Cloud, flights: Flights) -> None:
    assert cloud.post("/predictions/late", flights[1]).json == SCORES[1]
    assert cloud.post("/predictions/late/1", flights).json == SCORES
    form = b'--b\r\nContent-Disposition: form-data; name="data"; filename="x.json"\r\n\r\n%s\r\n--b--\r\n'
    body = form % json.dumps(flights[1]).encode()
    assert cloud.post("/predictions/late", body, content_type="multipart/form-data; boundary=b").json == SCORES[1]
    other = cloud.post("/predictions/late", b"--b--\r\n", content_type="multipart/form-data; boundary=b")
    assert (other.status, other.json["error"]) == (400, "the form has no part named data")


def test_torchserve_explains_as_its_clients_know(cloud: Cloud, flights: Flights) -> None:
    answer = cloud.post("/predictions/nobody", flights)
    assert (answer.status, answer.json["code"], answer.json["type"]) == (404, 404, "ModelNotFoundException")
    assert answer.json["message"] == answer.json["error"]
    assert cloud.post("/predictions/late", b"{").json["type"] == "BadRequestException"


# CloudEvents


EVENT = {"ce_specversion": "1.0", "ce_id": "7", "ce_source": "/flights", "ce_type": "flight.planned"}


def test_an_event_in_binary_mode_is_answered_with_one(cloud: Cloud, flights: Flights) -> None:
    answer = cloud.post("/", flights[1], **EVENT, content_type="application/json", prefer="reply")
    assert (answer.status, answer.json) == (200, {"predictions": SCORES[1:2]})
    told = {name: answer.headers[f"ce-{name}"] for name in ("specversion", "source", "type", "subject")}
    assert told == {"specversion": "1.0", "source": "/models/late/versions/1", "type": "skyloom.prediction", "subject": "7"}
    assert until(lambda: [each for each in cloud.world.receipts() if each.id == answer.headers["ce-id"]])
    lines = b"\n".join(json.dumps(row).encode() for row in flights)
    assert cloud.post("/cloudevents/other", lines, **EVENT, content_type=LINES).json["predictions"][0] == 0.5


def test_an_event_in_structured_mode_is_answered_with_one(cloud: Cloud, flights: Flights) -> None:
    event = {name.removeprefix("ce_"): value for name, value in EVENT.items()}
    datas: list[dict[str, Any]] = [
        {"data": flights},
        {"datacontenttype": "text/csv", "data": csv_of(flights).decode()},
        {"datacontenttype": "text/csv", "data_base64": base64.b64encode(csv_of(flights)).decode()},
    ]
    for data in datas:
        body = {**event, **data, "extension": "kept by nobody"}
        answer = cloud.post("/", body, content_type="application/cloudevents+json; charset=utf-8")
        assert answer.headers["content-type"].startswith("application/cloudevents+json")
        assert (answer.json["data"], answer.json["specversion"]) == ({"predictions": SCORES}, "1.0"), answer
    batch = [{**event, "id": str(number), "data": row} for number, row in enumerate(flights)]
    answer = cloud.post("/", batch, content_type="application/cloudevents-batch+json")
    assert [(each["subject"], each["data"]["predictions"]) for each in answer.json] == [
        (str(number), [each]) for number, each in enumerate(SCORES)
    ]
    many = cloud.post("/", batch * 400, content_type="application/cloudevents-batch+json")
    assert (many.status, many.json["error"]) == (413, "a batch holds at most 1,000 events, this one 1,200")
    batch[1]["data"] = {**flights[1], "seats": "many"}
    bad = cloud.post("/", batch, content_type="application/cloudevents-batch+json")
    assert (bad.status, bad.json["error"]) == (400, "event 1: seats: expected a whole number, got str")


@pytest.mark.parametrize(
    ("headers", "body", "status", "says"),
    [
        ({}, b"{}", 400, "ce-specversion"),
        ({**EVENT, "ce_specversion": "0.3"}, b"{}", 400, "'0.3' is not 1.0"),
        ({**EVENT, "ce_source": ""}, b"{}", 400, "source: an event needs one"),
        (EVENT, b"{", 400, "not valid JSON"),
        (EVENT, b'{"instances": [], "parameters": {"outputs": ["colour"]}}', 400, "no output colour"),
        ({"content_type": "application/cloudevents+avro"}, b"{}", 415, "application/cloudevents+json"),
        ({"content_type": "application/cloudevents+json"}, b'{"specversion": "1.0"}', 400, "id"),
        (
            {"content_type": "application/cloudevents+json"},
            b'{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"%"}',
            400,
            "data_base64",
        ),
    ],
)
def test_what_is_no_event_says_so(cloud: Cloud, headers: dict[str, str], body: bytes, status: int, says: str) -> None:
    answer = cloud.post("/", body, **headers)
    assert (answer.status, says in answer.json["error"]) == (status, True), answer


# Skyloom's own, in other formats


def test_predict_takes_tables_and_answers_them(cloud: Cloud, flights: Flights) -> None:
    answer = cloud.post("/predict/late", csv_of(flights), content_type=CSV)
    assert [each["score"] for each in answer.json["predictions"]] == SCORES
    assert answer.json["predictions"][0]["model"] == "late"
    answer = cloud.post("/predict/late", csv_of(flights), content_type=CSV, accept=CSV)
    assert answer.body.splitlines()[0] == b"score,label,receipt,version"
    answer = cloud.post("/predict", flights[1], accept="application/json;outputs=score")
    assert answer.json["score"] == SCORES[1]


def test_predict_answers_tutorials_with_the_scores_alone(cloud: Cloud, flights: Flights) -> None:
    for body in (flights, {"data": flights}, {"features": [list(row.values()) for row in flights]}):
        assert cloud.post("/predict", body).json == {"prediction": SCORES}
