"""Answers that go out piece by piece: the same as whole ones, before the last rows are scored, and never taken for whole."""

import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from clouds import Cloud, score
from serving_world import Arm, ServerProcess, World, mint

ROWS = 2_500
HANGS = 2.0
"""The distance that a model that hangs does not come back from."""
BREAKS = 1e300
"""The distance to which models answer what is no number: more than float32 holds."""


def lines(distances: list[float]) -> bytes:
    rows = [
        {
            "flight_id": f"s{at}",
            "scheduled": 1_364_800_000_000,
            "carrier": "UA",
            "distance": each,
            "seats": 5,
            "charter": False,
        }
        for at, each in enumerate(distances)
    ]
    return b"\n".join(json.dumps(row).encode() for row in rows)


DISTANCES = [float(at) for at in range(ROWS)]


def scores_of(media: str, body: bytes) -> list[float]:
    if media.startswith("application/x-ndjson"):
        return [json.loads(line)["score"] for line in body.splitlines()]
    if media.startswith("text/csv"):
        return [float(line) for line in body.decode().splitlines()]
    return pa.ipc.open_stream(io.BytesIO(body)).read_all()["score"].to_pylist()


@pytest.mark.parametrize(
    "media", ["application/x-ndjson", "text/csv;outputs=score;header=absent", "application/vnd.apache.arrow.stream"]
)
@pytest.mark.parametrize("path", ["/predict/late", "/invocations", "/score"])
def test_what_is_streamed_is_what_is_answered_whole(cloud: Cloud, path: str, media: str) -> None:
    body = lines(DISTANCES)
    whole = cloud.post(path, body, content_type="application/x-ndjson", accept=media)
    pieces = cloud.post(path, body, content_type="application/x-ndjson", accept=f"{media};stream=true")
    assert (whole.status, pieces.status, pieces.headers["content-type"]) == (200, 200, whole.headers["content-type"])
    assert "content-length" in whole.headers
    assert pieces.headers["transfer-encoding"] == "chunked"
    assert scores_of(media, pieces.body) == scores_of(media, whole.body) == [score(each) for each in DISTANCES]


def test_no_rows_and_no_such_stream(cloud: Cloud) -> None:
    none = cloud.post("/invocations", b"", content_type="application/x-ndjson", accept="text/csv;stream=true")
    assert (none.status, none.body) == (200, b"")
    whole = cloud.post(
        "/invocations", lines([1.0]), content_type="application/x-ndjson", accept="application/json;stream=true"
    )
    assert whole.status == 406
    assert "answers are streamed as application/x-ndjson" in whole.json["error"]
    bad = cloud.post("/invocations", b"{}", content_type="application/x-ndjson", accept="text/csv;stream=true")
    assert (bad.status, "row 0: flight_id: missing" in bad.json["error"]) == (400, True)


@pytest.mark.parametrize("media", ["application/x-ndjson", "text/csv;outputs=score", "application/vnd.apache.arrow.stream"])
def test_an_answer_that_breaks_is_not_taken_for_whole(media: str, breaking: Cloud) -> None:
    distances = [1.0] * 1_500 + [BREAKS]
    answer = breaking.post(
        "/predict/late", lines(distances), content_type="application/x-ndjson", accept=f"{media};stream=true"
    )
    assert answer.status == 200
    if "ndjson" in media:
        *rows, last = [json.loads(line) for line in answer.body.splitlines()]
        assert (len(rows), "could not answer" in last["error"]) == (1_024, True)
    elif "csv" in media:
        *rows, text = answer.body.decode().splitlines()
        assert (len(rows), text.startswith('"error: late v1 could not answer')) == (1_025, True)
    else:
        with pytest.raises(pa.ArrowInvalid, match="Expected to read"):
            pa.ipc.open_stream(io.BytesIO(answer.body)).read_all()
    at_once = breaking.post(
        "/predict/late", lines([BREAKS]), content_type="application/x-ndjson", accept=f"{media};stream=true"
    )
    assert at_once.status == 500


def served(folder: Path, kind: str) -> Iterator[Cloud]:
    world = World(folder, windowed=False)
    key, stored = mint(["predict"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25, kind), 10_000, "champion"),)}, (stored,)))
    server = ServerProcess(world.folder, key)
    yield Cloud(world, server)
    server.end(9)
    server.errors.close()


@pytest.fixture(scope="module")
def breaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    yield from served(tmp_path_factory.mktemp("breaking"), "good")


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Cloud]:
    yield from served(tmp_path, "hangs")


def test_the_first_rows_come_while_the_last_are_scored(hanging: Cloud) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", hanging.server.port, timeout=20)
    headers = {"authorization": f"Bearer {hanging.server.key}", "content-type": "application/x-ndjson"}
    headers["accept"] = "text/csv;stream=true;header=absent"
    try:
        connection.request("POST", "/predict/late", lines([0.0] * 1_500 + [HANGS]), headers)
        answer = connection.getresponse()
        found = [answer.readline() for _ in range(1_024)]
        answer.close()
    finally:
        connection.close()
    assert len(set(found)) == 1_024  # each has its receipt; the rest never comes
