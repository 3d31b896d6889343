"""The OpenAPI document: it says what is there, and what it says is true."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from clouds import Cloud
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
    words = [python_with("schemathesis", "schemathesis==4.32.5"), "-m", "schemathesis.cli", "run"]
    where = f"http://127.0.0.1:{told.server.port}/openapi.json"
    how = ["--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--max-examples", "2", "--seed", "1"]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    key = ["-H", f"Authorization: Bearer {told.server.key}"]
    run = [*words, where, *key, *how]
    done = subprocess.run(run, capture_output=True, text=True, timeout=280, check=False, env=quiet, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-1_000:]
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None
    assert int(found[1]) == int(found[2]) > 1_000
    assert "Tested: " in done.stdout
    assert told.server.process.poll() is None
