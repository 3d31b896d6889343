"""Clients of others, unmodified, from PyPI, against the server."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clouds import SCORES, Cloud, score
from sagemaker_shim import sagemaker
from tests.environments import python_with

Flights = list[dict[str, Any]]
PACKAGES = (
    "boto3==1.44.5",
    "cloudevents==2.2.0",
    "mlflow-skinny==3.17.2",
    "numpy==2.4.6",
    "pandas==3.1.1",
    "requests==2.34.2",
    "scipy==1.17.1",
)
pytestmark = pytest.mark.xdist_group("clients")


@pytest.fixture(scope="module")
def behind(start: Callable[..., Cloud]) -> Cloud:
    """A server in a container of a platform that has authenticated callers."""
    contracts = ["predict", "sagemaker", "sagemaker-multi-model", "mlflow", "cloudevents"]
    return start(contracts=contracts, trust_platform=True, key=False)


def said(program: str, address: str, flights: Flights) -> Any:
    """What a program of a client printed."""
    words = [
        python_with("clouds", *PACKAGES),
        str(Path(__file__).parents[1] / "clients" / program),
        address,
        json.dumps(flights),
    ]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_mlflow_scoring_client(behind: Cloud, flights: Flights) -> None:
    done = said("mlflow_client.py", str(behind.server.port), flights)
    assert done["frame"] == done["moments"] == done["arrays"] == SCORES
    assert done["params"] == {"score": SCORES, "label": [False, False, True]}
    assert done["version"].startswith("0.")
    assert "error code 400" in done["error"]
    assert "seats: missing" in done["error"]


def test_boto3_through_what_sagemaker_strips(behind: Cloud, flights: Flights) -> None:
    with sagemaker(behind.server.port) as url:
        done = said("boto3_client.py", url, flights)
    expected = {"predictions": SCORES}
    assert (json.loads(done["json"]["body"]), done["json"]["ContentType"]) == (expected, "application/json")
    assert done["csv"]["body"].splitlines() == [str(each) for each in SCORES]
    assert done["csv"]["ContentType"] == "text/csv; charset=utf-8"
    assert (json.loads(done["attributes"]["body"]), done["attributes"]["CustomAttributes"]) == (expected, "trace=1;of=me")
    assert json.loads(done["other model"]["body"]) == {"predictions": [score(row["distance"], 0.5) for row in flights]}
    lines = [json.loads(line) for line in "".join(done["streamed"]["parts"]).splitlines()]
    assert [each["score"] for each in lines] == SCORES * 1_000
    assert len(done["streamed"]["parts"]) >= 3
    assert (done["streamed"]["ContentType"], done["streamed error"]) == ("application/x-ndjson", 400)
    assert (json.loads(done["later"]["body"]), done["later"]["id"]) == (expected, "order-8")
    assert done["error"]["OriginalStatusCode"] == 400
    assert json.loads(done["error"]["OriginalMessage"])["error"].startswith("the body is not valid JSON")


def test_cloudevents_sdk(behind: Cloud, flights: Flights) -> None:
    done = said("cloudevents_client.py", f"http://127.0.0.1:{behind.server.port}/", flights)
    expected = {"type": "skyloom.prediction", "source": "/models/late/versions/1", "subject": "e 7"}
    for mode in ("binary", "structured"):
        assert done[mode] == {**expected, "data": {"predictions": SCORES}, "structured": mode == "structured"}
