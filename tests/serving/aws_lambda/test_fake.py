"""The runtime API that our loop is tested with is one that AWS's own client takes for real."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lambda_runtime import FakeRuntime
from tests.environments import python_with

HERE = Path(__file__).parents[1] / "clients"

pytestmark = pytest.mark.xdist_group("clients")


@contextmanager
def awslambdaric(runtime: FakeRuntime, handler: str) -> Iterator[subprocess.Popen[bytes]]:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AWS_"))}
    env = {**quiet, "AWS_LAMBDA_RUNTIME_API": runtime.address, "LAMBDA_TASK_ROOT": str(HERE), "_HANDLER": handler}
    words = [python_with("lambda", "awslambdaric==4.2.2"), "-m", "awslambdaric", handler]
    with subprocess.Popen(words, cwd=HERE, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_official_client_answers_invocations() -> None:
    with FakeRuntime() as runtime, awslambdaric(runtime, "lambda_handler.handle"):
        first = runtime.invoke({"a": ["é", 1]}, seconds=20.0)
        assert first.kind == "response"
        assert first.json["event"] == {"a": ["é", 1]}
        assert 15_000 < first.json["left_ms"] <= 20_000
        failed = runtime.invoke({"raise": True})
        assert (failed.kind, failed.json["errorType"], failed.json["errorMessage"]) == (
            "error",
            "LookupError",
            "no such thing",
        )
        again = runtime.invoke([1])
        assert again.json["event"] == [1]
        assert again.json["id"] != first.json["id"]


def test_the_official_client_says_that_it_cannot_begin() -> None:
    with FakeRuntime() as runtime, awslambdaric(runtime, "nowhere.handle"):
        said = runtime.started.get(timeout=30)
        assert said.kind == "init"
        assert said.error_type.startswith("Runtime.")
