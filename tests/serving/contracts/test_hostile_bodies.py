"""Bodies that nobody should send: every route that takes one says why, and none breaks."""

import gzip
import io
import random
from typing import Any

import pyarrow as pa
import pytest
from clouds import Cloud
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from skyloom.serving.formats.media import ARROW_STREAM, CSV, LINES, PARQUET

PATHS = [
    "/predict",
    "/invocations",
    "/models",
    "/v1/endpoints/1/deployedModels/2:predict",
    "/score",
    "/v1/models/late:predict",
    "/v1/models/late:classify",
    "/predictions/late",
    "/",
]
EVENT = {"ce_specversion": "1.0", "ce_id": "7", "ce_source": "/flights", "ce_type": "flight.planned"}
RAW: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "NaN": b'{"instances":[{"flight_id":"a","scheduled":1,"seats":1,"charter":false,"distance":NaN}]}',
    "a million digits": b'{"instances":[{"seats":' + b"1" * 900_000 + b"}]}",
    "lists, 100,000 deep": b"[" * 100_000,
    "closed lists, 100,000 deep": b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "lists in lists, 900 deep": b'{"inputs":{"seats":' + b"[" * 900 + b"1" + b"]" * 900 + b"}}",
    "a lone surrogate": b'{"instances":[{"flight_id":"\\ud800","scheduled":1,"seats":1,"charter":false}]}',
    "a lone surrogate for a name": b'{"instances":[{"\\ud800":1}]}',
    "bytes that are no UTF-8": b'{"instances":["\xff"]}',
    "null": b"null",
    "envelopes of null": b'{"instances":null,"inputs":null}',
    "columns of null": b'{"inputs":{"seats":null,"charter":null}}',
    "a split of null": b'{"dataframe_split":{"columns":null,"data":null}}',
    "data of null": b'{"input_data":{"data":[null]}}',
    "outputs of null": b'{"instances":[],"parameters":{"outputs":[null]}}',
    "tensors of null": b'{"inputs":[{"datatype":null}]}',
    "a folder with a zero": b'{"model_name":"a","url":"/opt/ml/models/\\u0000"}',
    "a name of a surrogate": b'{"model_name":"a","url":"/opt/ml/models/\\ud800"}',
}


@pytest.mark.parametrize("body", RAW.values(), ids=RAW)
def test_a_bad_body_gets_a_reason_on_every_route(cloud: Cloud, body: bytes) -> None:
    for path in PATHS:
        headers = EVENT if path == "/" else {}
        answer = cloud.post(path, body, **headers)
        assert 200 <= answer.status < 500, (path, answer)
        assert answer.status == 200 or answer.json["error"], path


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
NAMES = ["flight_id", "scheduled", "carrier", "seats", "charter", "columns", "data", "inputs", "x"]
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
KEYS = [
    "instances",
    "inputs",
    "dataframe_split",
    "dataframe_records",
    "input_data",
    "columns",
    "data",
    "examples",
    "context",
]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from([*KEYS, "parameters", "params"]), JSON, max_size=3), st.sampled_from(PATHS))
def test_any_document_gets_an_answer(cloud: Cloud, document: dict[str, Any], path: str) -> None:
    headers = EVENT if path == "/" else {}
    assert cloud.post(path, document, **headers).status < 500


def test_damaged_tables_get_a_reason(cloud: Cloud) -> None:
    chance, sink, stream = random.Random(3), io.BytesIO(), io.BytesIO()
    table = pa.table(
        {"flight_id": ["a"] * 9, "scheduled": [1] * 9, "seats": [1] * 9, "charter": [True] * 9, "distance": [1.0] * 9}
    )
    parquet.write_table(table, sink)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    bodies = {PARQUET: sink.getvalue(), ARROW_STREAM: stream.getvalue(), CSV: b"flight_id,seats\na,1", LINES: b'{"a":1}\n[]'}
    for kind, body in bodies.items():
        for _ in range(25):
            damaged = bytearray(body)
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            packed = gzip.compress(bytes(damaged))
            cut = packed[: chance.choice([len(packed), len(packed) - 9])]
            answer = cloud.post("/invocations", cut, content_type=kind, content_encoding="gzip")
            assert answer.status in (200, 400, 413), (kind, answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": ";;;=,"},
        {"content_type": "text/csv; header=\xff"},
        {"content_type": "multipart/form-data"},
        {"content_type": "multipart/form-data; boundary=" + "x" * 5_000},
        {"accept": "," * 5_000},
        {"accept": "application/json;q=x, */*;q=0"},
        {"accept": "text/csv;outputs=" + "score+" * 1_000},
        {"content_encoding": "br"},
        {"content_type": "application/octet-stream;json-header-size=-1"},
        {"content_type": "application/octet-stream;json-header-size=99999999999999999999"},
        {"ce_specversion": "%ff%", "ce_id": "%00", "ce_source": "\xff", "ce_type": "x"},
    ],
)
def test_odd_headers_get_a_reason(cloud: Cloud, headers: dict[str, str]) -> None:
    for path in PATHS:
        assert cloud.post(path, b'{"instances": []}', **headers).status < 500, path


def test_ids_that_come_back_cannot_add_headers(cloud: Cloud) -> None:
    ids = {"x_ms_client_request_id": "a%0d%0aset-cookie: x", "x_request_id": "\xe9"}
    answer = cloud.post("/score", {"instances": []}, **ids)
    assert answer.status < 500
    assert "set-cookie" not in answer.headers
