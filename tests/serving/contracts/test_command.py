"""``skyloom serve`` in a container of a platform: its profile, its port."""

import http.client
import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.journeys.journey import COMMAND


@pytest.mark.parametrize(("variable", "words"), [("PORT", ()), ("", ("--port", "0", "--address", "0.0.0.0"))])
def test_a_profile_and_a_platform_are_obeyed(tmp_path: Path, variable: str, words: tuple[str, ...]) -> None:
    (tmp_path / "skyloom.toml").write_text(
        '[cloud]\nserving = { contracts = ["knative", "sagemaker"], trust_platform = true }\n'
    )
    free = _free_port()
    environ = {**os.environ, variable: str(free)} if variable else dict(os.environ)
    serve = [COMMAND, "serve", "--profile", "cloud", *words]
    with subprocess.Popen(serve, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().removeprefix("listening on ").partition(";")[0]
            assert address == f"http://0.0.0.0:{free}" if variable else address.startswith("http://0.0.0.0:")
            port = int(address.rpartition(":")[2])
            assert _asked(port, "GET", "/") == (503, {"error": "nothing has been released to this server yet"})
            status, answer = _asked(port, "POST", "/invocations")
            assert (status, answer["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
            assert _asked(port, "POST", "/predict")[0] == 404
        finally:
            server.terminate()
        assert server.wait(60) == 0


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _asked(port: int, method: str, path: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
