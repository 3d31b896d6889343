"""``skyloom serve`` in a sandbox of Lambda."""

import os
import subprocess
from pathlib import Path

import pytest
from lambda_runtime import FakeRuntime
from tests.journeys.journey import COMMAND

from skyloom.serving.aws_lambda.function import is_function

PROFILE = '[cloud]\nserving = { contracts = ["predict"], trust_platform = true }\n'


@pytest.mark.parametrize("words", [(), ("--lambda",)])
def test_it_asks_the_runtime_api_where_there_is_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "skyloom.toml").write_text(PROFILE)
    with FakeRuntime() as runtime:
        environ = {**os.environ, "AWS_LAMBDA_RUNTIME_API": runtime.address}
        serve = [COMMAND, "serve", "--profile", "cloud", *words]
        done = subprocess.run(serve, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "no release" in done.stderr
        assert runtime.started.get(timeout=30).error_type == "Skyloom.NoRelease"


def test_without_a_runtime_api_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "skyloom.toml").write_text(PROFILE)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    serve = [COMMAND, "serve", "--profile", "cloud", "--lambda"]
    done = subprocess.run(serve, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "AWS_LAMBDA_RUNTIME_API is not set" in done.stderr + done.stdout


def test_behind_the_web_adapter_it_listens_on_a_port() -> None:
    assert is_function({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"})
    assert not is_function({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "AWS_LWA_PORT": "8080"})
    assert not is_function({})
