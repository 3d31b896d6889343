"""The OpenAPI document: it says what is there, and what it says is true."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clouds import Cloud
from serving_world import until
from test_open_inference_clients import CLIENTS
from tests.environments import python_with

from skyloom.kernel.contracts import CONTRACTS
from skyloom.serving.contracts.catalog import SHARED

pytestmark = pytest.mark.xdist_group("openapi")

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.fixture(scope="module")
def told(start: Callable[..., Cloud]) -> Cloud:
    """Every contract but the one that takes models out of the server, whose 503 would be a server's error to the client."""
    return start(contracts=[name for name in CONTRACTS if name != "repository"])


def test_every_route_is_in_the_document_with_its_key_and_its_rows(told: Cloud) -> None:
    document = told.ask("GET", "/openapi.json").json
    assert document["openapi"] == "3.1.0"
    for shared in SHARED:
        assert shared.path.startswith("$") or shared.method.lower() in document["paths"][shared.path]
    predict = document["paths"]["/predict/{model}"]["post"]
    assert predict["security"] == [{"key": []}]
    assert predict["parameters"][0]["schema"] == {"type": "string", "enum": ["late", "other"]}
    assert document["paths"]["/health/live"]["get"]["security"] == []
    late, other = document["components"]["schemas"]["Row"]["anyOf"]
    assert (late["title"], other["title"]) == ("late", "other")
    assert late["required"] == ["flight_id", "scheduled", "seats", "charter"]
    assert {"type": "null"} in late["properties"]["distance"]["anyOf"]
    assert [each["title"] for each in document["components"]["schemas"]["Event"]["anyOf"]] == ["landings"]
    ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(ids) == len(set(ids))


def test_it_needs_a_key_that_reads(told: Cloud) -> None:
    assert told.ask("GET", "/openapi.json", authorization="").status == 401


def test_what_a_path_takes_is_said_where_it_takes_something_else(told: Cloud) -> None:
    answer = told.ask("DELETE", "/ping")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"


def test_schemathesis_finds_no_server_error_and_no_undocumented_answer(told: Cloud, tmp_path: Path) -> None:
    generated, _ = asked(told, f"http://127.0.0.1:{told.server.port}/openapi.json", tmp_path, "coverage,fuzzing")
    assert generated > 1_000


def test_schemathesis_finds_the_open_inference_protocol_kept(
    told: Cloud, flights: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Its types come from the client that the protocol's authors generate; what is asked is no document of ours."""
    types = {"carrier": "BYTES", "flight_id": "BYTES", "distance": "FP64", "charter": "BOOL"}
    inputs = [
        {"name": name, "datatype": types.get(name, "INT64"), "shape": [3], "data": [row[name] for row in flights]}
        for name in flights[0]
    ]
    program = Path(__file__).parents[1] / "clients" / "open_inference_document.py"
    words = [python_with("open-inference", *CLIENTS), str(program), "late", "1", json.dumps({"inputs": inputs})]
    document = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    (tmp_path / "protocol.json").write_text(document)
    where = f"http://127.0.0.1:{told.server.port}"
    before = len(told.world.receipts())
    generated, said = asked(told, str(tmp_path / "protocol.json"), tmp_path, "examples,coverage", "--url", where)
    assert generated > 200, said
    until(lambda: len(told.world.receipts()) > before)  # some requests were answered with predictions


def asked(told: Cloud, document: str, folder: Path, phases: str, *more: str) -> tuple[int, str]:
    """How many requests schemathesis made of a document, all of which passed, and what it said."""
    words = [python_with("schemathesis", "schemathesis==4.32.5"), "-m", "schemathesis.cli", "run"]
    how = ["--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", "2", "--seed", "1"]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    key = ["-H", f"Authorization: Bearer {told.server.key}"]
    run = [*words, document, *more, *key, *how]
    done = subprocess.run(run, capture_output=True, text=True, timeout=280, check=False, env=quiet, cwd=folder)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-1_000:]
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None
    assert int(found[1]) == int(found[2])
    assert "Tested: " in done.stdout
    assert told.server.process.poll() is None
    return int(found[1]), done.stdout
