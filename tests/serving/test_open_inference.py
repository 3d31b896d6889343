"""The Open Inference Protocol over real HTTP: JSON and binary, good and bad."""

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numeric_world import NumericWorld
from serving_world import NOW, Arm, ServerProcess, World, mint, until

from skyloom.kernel.schema import Type

Served = tuple[World, ServerProcess]
Flight = dict[str, Any]
INFER = "/v2/models/late/infer"


def score(distance: float) -> float:
    """What the model of flights answers, worked out without it."""
    f = np.float32
    return float(f(distance) * f(0.001) + f(0.25))


def tensors(rows: list[Flight], **changed: Any) -> Flight:
    types = {
        "flight_id": "BYTES",
        "scheduled": "INT64",
        "carrier": "BYTES",
        "distance": "FP64",
        "seats": "INT64",
        "charter": "BOOL",
    }
    inputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": [len(rows)],
            "data": [row[name] for row in rows],
            **changed.get(name, {}),
        }
        for name, datatype in types.items()
    ]
    return {"id": "7", "inputs": inputs}


def test_open_inference_answers_what_predict_answers(served: Served, flight: Flight) -> None:
    _, server = served
    rows = [{**flight, "distance": 10.0 * i, "flight_id": f"o{i}"} for i in range(5)]
    nested = {"distance": {"shape": [5, 1], "data": [[row["distance"]] for row in rows]}}
    for path in ("/v2/models/late/infer", "/v2/models/late/versions/1/infer"):
        status, answer = server.ask("POST", path, tensors(rows, **nested))
        outputs = {each["name"]: each for each in answer["outputs"]}
        assert (status, answer["id"], answer["model_name"], answer["model_version"]) == (200, "7", "late", "1")
        assert outputs["score"] == {
            "name": "score",
            "shape": [5],
            "datatype": "FP64",
            "data": [score(10.0 * i) for i in range(5)],
        }
        assert (outputs["label"]["datatype"], outputs["label"]["data"]) == ("BOOL", [False] * 5)
    asked = {**tensors(rows), "outputs": [{"name": "score"}]}
    assert [each["name"] for each in server.ask("POST", "/v2/models/late/infer", asked)[1]["outputs"]] == ["score"]


def test_a_pinned_version_is_no_evidence(served: Served, flight: Flight) -> None:
    world, server = served
    server.ask("POST", "/v2/models/late/versions/1/infer", tensors([{**flight, "flight_id": "pin"}]))
    assert until(lambda: [each.arm for each in world.receipts() if each.unit == "pin"]) == ["pinned"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"distance": {"datatype": "BYTES", "data": ["x"]}}, "distance: BYTES does not hold a float"),
        ({"distance": {"shape": [2]}}, "distance: the shape says 2 values"),
        ({"distance": {"shape": [1, 2], "data": [1.0, 2.0]}}, "distance: the shape is [1, 2]"),
        ({"distance": {"shape": []}}, "distance: the shape is []"),
        ({"distance": {"shape": [1, -1]}}, "distance: the shape is [1, -1]: a dimension is negative"),
        ({"distance": {"shape": [1.5]}}, "Expected `int`"),
        ({"distance": {"shape": [-1]}}, "distance: the shape is [-1]: a dimension is negative"),
        ({"distance": {"data": ["x"]}}, "distance: Expected `float`, got `str`"),
        ({"distance": {"data": [[[1.0]]]}}, "distance: Expected `float`, got `array`"),
        ({"distance": {"datatype": "FP8"}}, "distance: there is no datatype FP8"),
        ({"seats": {"datatype": "INT8", "data": [10**9]}}, "seats: a value does not fit into INT8"),
        ({"seats": {"data": [None]}}, "row 0: seats: expected a whole number, got null"),
        ({"seats": {"data": None}}, "seats: there is neither data nor a binary_data_size"),
        ({"distance": {"name": "seats", "datatype": "INT64", "data": [1]}}, "seats: given twice"),
        ({"distance": {"name": "distence"}}, "did you mean distance?"),
        ({"distance": {"shape": [0], "data": []}}, "different numbers of rows"),
    ],
)
def test_a_bad_tensor_is_named(served: Served, flight: Flight, changed: Flight, says: str) -> None:
    _, server = served
    status, answer = server.ask("POST", "/v2/models/late/infer", tensors([flight], **changed))
    assert (status, says in answer["error"]) == (400, True), answer


def test_open_inference_tells_about_itself(served: Served) -> None:
    _, server = served
    assert server.ask("GET", "/v2")[1]["name"] == server.ask("GET", "/v2/")[1]["name"] == "skyloom"
    metadata = server.ask("GET", "/v2/models/late")[1]
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("late", ["1"], "onnxruntime_onnx")
    assert {each["name"]: each["datatype"] for each in metadata["inputs"]}["carrier"] == "BYTES"
    assert server.ask("GET", "/v2/models/late/ready") == (200, {"name": "late", "ready": True})
    assert server.ask("GET", "/v2/models/late/versions/9/ready")[0] == 404


def binary(rows: list[Flight], **parameters: Any) -> tuple[bytes, dict[str, str]]:
    """The request of `tensors` with all tensors raw, and its header."""
    request, raws = tensors(rows), []
    codes = {"INT64": "q", "FP64": "d", "BOOL": "?"}
    for each in request["inputs"]:
        values = each.pop("data")
        if each["datatype"] == "BYTES":
            raws.append(b"".join(struct.pack("<I", len(value)) + value.encode() for value in values))
        else:
            raws.append(struct.pack(f"<{len(values)}{codes[each['datatype']]}", *values))
        each["parameters"] = {"binary_data_size": len(raws[-1])}
    head = json.dumps({**request, "parameters": parameters}).encode()
    return head + b"".join(raws), {"Inference-Header-Content-Length": str(len(head))}


def test_raw_tensors_in_answer_what_json_answers(served: Served, flight: Flight) -> None:
    _, server = served
    rows = [{**flight, "distance": 7.0 * i, "flight_id": f"b{i}"} for i in range(20)]
    body, headers = binary(rows)
    for media in ({}, {"Content-Type": "application/octet-stream"}, {"Content-Type": "application/json"}):
        status, answer = server.ask("POST", INFER, body, {**headers, **media})
        assert status == 200, answer
        assert answer["outputs"][0]["data"] == [score(7.0 * i) for i in range(20)]


def parts(server: ServerProcess, body: bytes, headers: dict[str, str]) -> tuple[dict[str, str], Any, bytes]:
    """Headers of an answer, its JSON, and what stands behind that."""
    status, answered, content = server.whole("POST", INFER, body, headers)
    assert status == 200, content
    size = int(answered["inference-header-content-length"])
    return answered, json.loads(content[:size]), content[size:]


def test_raw_tensors_come_out_as_asked(served: Served, flight: Flight) -> None:
    _, server = served
    rows = [{**flight, "flight_id": f"c{i}"} for i in range(2)]
    body, headers = binary(rows, binary_data_output=True)
    answered, told, raw = parts(server, body, headers)
    assert answered["content-type"] == "application/octet-stream"
    sizes = [each["parameters"]["binary_data_size"] for each in told["outputs"]]
    assert [each["name"] for each in told["outputs"]] == ["score", "label", "receipt"]
    assert sizes == [16, 2, 2 * (4 + 28)]
    assert struct.unpack("<2d", raw[:16]) == (score(100.0), score(100.0))
    assert raw[16:18] == b"\0\0"
    assert raw[18:24] == b"\x1c\0\0\0p_"
    some = {
        **tensors(rows),
        "outputs": [{"name": "label"}, {"name": "score", "parameters": {"binary_data": True}}],
    }
    _, told, raw = parts(server, json.dumps(some).encode(), {})
    assert told["outputs"][0] == {"name": "label", "shape": [2], "datatype": "BOOL", "data": [False, False]}
    assert told["outputs"][1]["parameters"] == {"binary_data_size": len(raw)} == {"binary_data_size": 16}


def test_where_headers_are_stripped_the_media_type_says_the_length(served: Served, flight: Flight) -> None:
    _, server = served
    body, headers = binary([flight], binary_data_output=True)
    media = f"application/vnd.sagemaker-triton.binary+json;json-header-size={headers['Inference-Header-Content-Length']}"
    answered, _, raw = parts(server, body, {"Content-Type": media})
    size = answered["inference-header-content-length"]
    assert answered["content-type"] == f"application/vnd.sagemaker-triton.binary+json;json-header-size={size}"
    assert struct.unpack("<d", raw[:8]) == (score(100.0),)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bodies_may_be_packed_both_ways(served: Served, flight: Flight, encoding: str) -> None:
    _, server = served
    rows = [{**flight, "flight_id": f"z{i}"} for i in range(50)]
    pack, unpack = (gzip.compress, gzip.decompress) if encoding == "gzip" else (zlib.compress, zlib.decompress)
    headers = {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    status, answered, content = server.whole("POST", INFER, pack(json.dumps(tensors(rows)).encode()), headers)
    assert (status, answered["content-encoding"]) == (200, encoding)
    assert json.loads(unpack(content))["outputs"][0]["data"] == [score(100.0)] * 50


def raw_request(size: object, shape: list[int], behind: bytes = b"", **more: Any) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "distance", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": size}, **more}
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + behind, {"Inference-Header-Content-Length": str(len(head))}


LENGTH = "Inference-Header-Content-Length"
BINARY: list[tuple[str, bytes, dict[str, str], str]] = [
    ("fewer bytes than announced", *raw_request(8, [2], b"1234"), "8 bytes are announced, 4 are left"),
    ("more bytes than announced", *raw_request(4, [1], b"12345678"), "4 bytes stand behind the tensors"),
    ("a shape that does not fit", *raw_request(8, [3], b"12345678"), "[3] of FP32 takes 12 bytes, there are 8"),
    ("a size that is no number", *raw_request("8", [2], b"12345678"), "is no number of bytes"),
    ("a negative size", *raw_request(-8, [2]), "is no number of bytes"),
    ("true for a size", *raw_request(True, [2]), "is no number of bytes"),
    ("data and a size", *raw_request(8, [2], b"12345678", data=[1, 2]), "there is both"),
    ("a header longer than the body", b"{}", {LENGTH: "3"}, "is said to have 3 bytes, the body has 2"),
    ("a header that is no number", b"{}", {LENGTH: "two"}, "is no number: two"),
    ("a negative header", b"{}", {LENGTH: "-2"}, "is no number: -2"),
    ("a header of many digits", b"{}", {LENGTH: "1" * 300}, "is no number: 111"),
    ("a media type without a number", b"{}", {"Content-Type": "a/b; json-header-size=x"}, "is no number: x"),
    ("a bomb", gzip.compress(b" " * 10**8, mtime=0), {"Content-Encoding": "gzip"}, "longer than 1,000,000 bytes"),
    ("another packing", b"{}", {"Content-Encoding": "br"}, "not by br"),
    ("damage", b"{}", {"Content-Encoding": "gzip"}, "not what gzip makes"),
]


@pytest.mark.parametrize(("body", "headers", "says"), [case[1:] for case in BINARY], ids=[case[0] for case in BINARY])
def test_a_bad_binary_body_is_explained(served: Served, body: bytes, headers: dict[str, str], says: str) -> None:
    _, server = served
    status, answer = server.ask("POST", INFER, body, headers)
    assert (400 <= status < 500, says in answer["error"]) == (True, True), (status, answer)


@pytest.mark.parametrize(
    ("request_of", "says"),
    [
        ({}, "`inputs`"),
        ({"inputs": {}}, "Expected `array`"),
        ({"inputs": []}, "inputs: there is none"),
        ({"inputs": [{"name": "x"}]}, "missing required field"),
        ({"inputs": [], "outputs": [{"name": "nothing"}]}, "there is no output nothing; there are score, label, receipt"),
        ({"inputs": [], "outputs": [{"name": "score"}, {"name": "score"}]}, "asked for twice"),
        ({"inputs": [], "id": 7}, "Expected `str | null`"),
    ],
)
def test_a_bad_request_is_explained(served: Served, request_of: object, says: str) -> None:
    _, server = served
    status, answer = server.ask("POST", INFER, request_of)
    assert (status, says in answer["error"]) == (400, True), answer


def test_an_empty_batch_is_answered_with_none(served: Served) -> None:
    _, server = served
    status, answer = server.ask("POST", INFER, tensors([]))
    assert (status, [each["data"] for each in answer["outputs"]]) == (200, [[], [], []]), answer
    assert "model_version" not in answer


def test_what_there_is_not_is_said_in_the_shape_of_the_protocol(served: Served) -> None:
    _, server = served
    for method, path, status in [
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/none/ready", 404),
        ("GET", "/v2/models/none/stats", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("POST", "/v2/models/late/versions/7/infer", 404),
        ("GET", "/v2/models/late/infer", 405),
        ("GET", "/v2/logging", 404),
        ("GET", "/v2/trace/setting", 404),
        ("POST", "/v2/systemsharedmemory/region/a/register", 404),
        ("POST", "/v2/repository/models/late/unload", 404),
    ]:
        found, answer = server.ask(method, path, {"inputs": []} if method == "POST" else None)
        assert (found, list(answer)) == (status, ["error"]), (path, answer)


def test_configuration_statistics_and_index_are_triton_s(served: Served, flight: Flight) -> None:
    _, server = served
    for base in ("/v2/models/late", "/v2/models/late/versions/1"):
        config = server.ask("GET", f"{base}/config")[1]
        assert (config["name"], config["max_batch_size"]) == ("late", 0)
        assert {each["name"]: each["data_type"] for each in config["input"]}["carrier"] == "TYPE_STRING"
        before = server.ask("GET", f"{base}/stats")[1]["model_stats"][0]
        assert server.ask("POST", f"{base}/infer", tensors([flight, flight]))[0] == 200
        assert server.ask("POST", f"{base}/infer", {"inputs": []})[0] == 400
        after = server.ask("GET", f"{base}/stats")[1]["model_stats"][0]
        assert after["inference_count"] - before["inference_count"] == 2
        counts = [each["inference_stats"][kind]["count"] for kind in ("success", "fail") for each in (before, after)]
        assert (counts[1] - counts[0], counts[3] - counts[2]) == (1, 1)
        assert server.ask("GET", "/v2/models/stats")[1]["model_stats"] == [after]
    ready = {"name": "late", "version": "1", "state": "READY", "reason": ""}
    assert server.ask("POST", "/v2/repository/index", b"") == (200, [ready])
    assert server.ask("POST", "/v2/repository/index", {"ready": True}) == (200, [ready])


@pytest.fixture(scope="module", params=[Type.STRING, Type.INT])
def summing(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NumericWorld, ServerProcess]]:
    """A server of a model whose requests are numbers: x0 (may be missing), x1, x2 (a truth), x3 (whole)."""
    world = NumericWorld(tmp_path_factory.mktemp("sums"), key=request.param)
    key, stored = mint(["admin"])
    world.publish_arms((Arm(1, world.sums(), 10_000, "champion"),), (stored,))
    server = ServerProcess(world.folder, key)
    yield world, server
    server.end(9)
    server.errors.close()


def matrix(rows: Any, datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    return {"name": "input-0", "datatype": datatype, "shape": list(np.shape(rows)), "data": rows, **more}


@pytest.mark.parametrize("count", [1, 3, 40])
def test_one_matrix_holds_all_numbers(summing: tuple[NumericWorld, ServerProcess], count: int) -> None:
    world, server = summing
    rows = [[0.5 * i, 1.0, float(i % 2), float(i)] for i in range(count)]
    rows[0][0] = None  # type: ignore[call-overload]
    sums = [(0.5 if row[0] is None else row[0]) + sum(row[1:]) for row in rows]
    before = len(world.receipts("sums"))
    status, answer = server.ask("POST", "/v2/models/sums/infer", {"inputs": [matrix(rows)]})
    assert (status, answer["outputs"][0]["data"]) == (200, sums), answer
    ids = answer["outputs"][1]["data"]
    receipts = until(lambda: found if len(found := world.receipts("sums")[before:]) == count else None)
    assert [each.id for each in receipts] == ids
    assert [list(each.inputs) for each in receipts] == rows
    assert [each.score for each in receipts] == sums
    assert len({each.key for each in receipts}) == count
    assert {each.at_ms for each in receipts} == {NOW}
    assert server.ask("GET", "/v2/models/sums")[1]["properties"] == {"matrix": "x0,x1,x2,x3"}


def test_key_and_time_may_stand_beside_a_matrix(summing: tuple[NumericWorld, ServerProcess]) -> None:
    world, server = summing
    integer = world.source.schema["id"].type is Type.INT
    keys: list[Any] = [5, 6] if integer else ["a", "b"]
    beside = [
        {"name": "id", "datatype": "INT64" if integer else "BYTES", "shape": [2, 1], "data": [[key] for key in keys]},
        {"name": "at", "datatype": "INT64", "shape": [2], "data": [1, 2]},
    ]
    request = {"inputs": [matrix([[1, 2, 1, 3]] * 2, "INT32"), *beside]}
    status, answer = server.ask("POST", "/v2/models/sums/infer", request)
    assert (status, answer["outputs"][0]["data"]) == (200, [7.0, 7.0]), answer
    found = until(lambda: [each for each in world.receipts("sums") if each.at_ms in (1, 2)])
    assert [(each.key, each.at_ms) for each in found] == [(str(keys[0]), 1), (str(keys[1]), 2)]
    assert found[0].request == {"id": keys[0], "at": 1, "x0": 1.0, "x1": 2.0, "x2": True, "x3": 3}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"data": [[1.0, 2.0, 1.0]], "shape": [1, 3]}, "a row is 4 numbers: x0, x1, x2, x3"),
        ({"data": [[1.0, 2.0, 0.5, 3.0]]}, "x2 is a whole number, and some are not"),
        ({"data": [[1.0, 2.0, 2.0, 3.0]]}, "x2 is 0 or 1, and some are not"),
        ({"data": [[1.0, 2.0, 1.0, 0.5]]}, "x3 is a whole number, and some are not"),
        ({"data": [[1.0, None, 1.0, 3.0]]}, "row 0: x1: expected a number, got null"),
        ({"data": [[1.0, 1.0, None, 3.0]]}, "row 0: x2: expected true or false, got null"),
        ({"name": "x0"}, "x0: the shape is [1, 4], not [n] or [n, 1]"),
        ({"shape": [4]}, "the shape says 4 values, there are 1"),
        ({"datatype": "BYTES", "data": [["a"] * 4]}, "input-0: the shape is [1, 4], not [n] or [n, 1]"),
    ],
)
def test_a_bad_matrix_is_explained(summing: tuple[NumericWorld, ServerProcess], changed: dict[str, Any], says: str) -> None:
    _, server = summing
    request = {"inputs": [{**matrix([[1.0, 2.0, 1.0, 3.0]]), **changed}]}
    status, answer = server.ask("POST", "/v2/models/sums/infer", request)
    assert (status, says in answer["error"]) == (400, True), answer
