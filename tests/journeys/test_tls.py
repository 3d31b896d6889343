"""`skyloom up` for callers of other machines: with TLS, and not without."""

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from tests.journeys import shop
from tests.journeys.journey import COMMAND, Project, Up

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

from authority import Authority

from skyloom.cli.doctor import certificate_checks
from skyloom.spec.address import Tls

rpc: Any = grpc
OPEN = 'address = "0.0.0.0"'
TLS = 'tls = { certificate = "tls/server.pem", key = "tls/server.key" }'


def settings(words: str, api: str = "") -> str:
    return shop.SETTINGS.replace("[local.serving]", f"[local.serving]\ngrpc_port = 0\n{words}").replace(
        "[local.api]", f"[local.api]\n{api}"
    )


def asked(url: str, context: ssl.SSLContext | None = None, key: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_everything_listens_with_tls_where_the_profile_says(declared: Project, launch: Callable[..., Up]) -> None:
    authority = Authority()
    authority.issue().write(declared.directory / "tls")
    declared.write("skyloom.toml", settings(f"{OPEN}\n{TLS}", TLS))
    declared.json("apply")
    up = launch(declared)
    told = json.loads((declared.directory / ".skyloom" / "up.json").read_bytes())
    assert told["serving"].startswith("https://localhost:")  # the name in the certificate stands for all addresses
    assert told["api"].startswith("https://127.0.0.1:")
    trusted = authority.trusted()
    assert asked(f"{told['serving']}/health/live", trusted) == (200, {"live": True})
    assert asked(f"{told['serving']}/metrics", trusted)[0] == 401
    assert asked(f"{told['api']}/api/project", trusted)[0] == 401
    assert asked(f"{told['api']}/api/project", trusted, up.key)[0] == 200
    with rpc.secure_channel(told["grpc"], rpc.ssl_channel_credentials(authority.issued.pem)) as channel:
        assert channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=60) == b"\x08\x01"
    assert up.end() == 0, up.said()


def test_nothing_is_begun_with_certificates_that_cannot_be_served(declared: Project) -> None:
    files = Authority().issue().write(declared.directory / "tls")
    declared.json("apply")
    declared.write("skyloom.toml", settings(TLS))
    Path(files["key"]).write_bytes(Authority().issue().key_pem())
    refused = declared.refused("up", code=2)
    assert refused.error == "the key does not fit the certificate"
    assert not (declared.directory / ".skyloom" / "up.json").exists()
    assert declared.refused("serve", code=2).error == refused.error
    declared.write("skyloom.toml", settings("", TLS))
    assert declared.refused("up", code=2).error == refused.error


def test_the_doctor_looks_at_certificates(tmp_path: Path) -> None:
    tls = Tls("tls/server.pem", "tls/server.key")
    Authority().issue().write(tmp_path / "tls")
    (good,) = certificate_checks("serving", tmp_path, tls)
    assert (good.name, good.state, good.found[:24]) == ("certificate for serving", "ok", "for localhost, 127.0.0.1")
    Authority().issue(lasts=timedelta(hours=1)).write(tmp_path / "tls")
    (old,) = certificate_checks("serving", tmp_path, tls)
    assert (old.state, old.fix) == ("note", "renew it")
    (bad,) = certificate_checks("API", tmp_path, Tls("tls/server.pem", "tls/other.key"))
    assert (bad.state, bad.found) == ("missing", "the key for TLS cannot be read: No such file or directory")
    assert certificate_checks("serving", tmp_path, "terminated") == []


def test_nothing_listens_to_others_in_the_clear(declared: Project) -> None:
    declared.write("skyloom.toml", settings(OPEN))
    assert "without TLS" in declared.refused("up").error


def test_an_address_of_the_command_line_is_held_against_the_profile(declared: Project) -> None:
    assert "without TLS" in declared.refused("serve", "--address", "0.0.0.0").error
    assert "no IP address" in declared.refused("serve", "--address", "here").error
    declared.write("skyloom.toml", settings(OPEN + '\ntls = "terminated"'))
    with subprocess.Popen([COMMAND, "serve"], cwd=declared.directory, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("listening on http://0.0.0.0:")
        server.terminate()


def test_the_port_of_a_platform_is_no_excuse(declared: Project) -> None:
    declared.write("skyloom.toml", settings('contracts = ["predict", "knative"]'))
    environ = {**os.environ, "PORT": "1"}
    said = subprocess.run(
        [COMMAND, "serve"], cwd=declared.directory, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 1
    assert "without TLS" in said.stderr
