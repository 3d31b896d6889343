"""The API as a process of its own, over HTTP and with TLS, and what it does with bodies that are none."""

import asyncio
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skyloom.api import app as api_app
from skyloom.api.app import Application
from skyloom.api.asgi import Asgi
from skyloom.api.routes import routes
from skyloom.governance.keys import create_key
from skyloom.platform import open_platform
from skyloom.serving.http import HttpServer
from skyloom.serving.listener import listening
from skyloom.serving.loop import run
from skyloom.serving.services import Listen

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

from authority import Authority

PATIENCE_S = 60.0
PROMOTE = "/api/models/late/promote"


def until(true: Callable[[], Any]) -> Any:
    """Ask again until the answer is true; the answer."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
    return found


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, str]:
    """A folder, and a key for everything in it."""
    platform = open_platform(tmp_path)
    return tmp_path, create_key(platform.metadata, ["admin"], actor="tester", now_ms=0)[0]


class Process:
    """``python -m skyloom.api.main`` on a socket that it inherits."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            number = listener.fileno()
            words = [sys.executable, "-m", "skyloom.api.main", str(folder), "local", str(number)]
            self.log = folder / "api.log"
            with self.log.open("wb") as log:
                self.running = subprocess.Popen(words, pass_fds=[number], stderr=log)

    def ask(self, method: str, path: str, key: str = "", tls: ssl.SSLContext | None = None) -> tuple[int, Any]:
        where = ("localhost" if tls else "127.0.0.1", self.port)
        connection = (
            http.client.HTTPSConnection(*where, context=tls, timeout=PATIENCE_S)
            if tls
            else http.client.HTTPConnection(*where, timeout=PATIENCE_S)
        )
        try:
            connection.request(method, path, headers={"authorization": f"Bearer {key}"} if key else {})
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if body else None
        finally:
            connection.close()

    def end(self) -> int:
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(PATIENCE_S)


@pytest.fixture
def launch() -> Iterator[Callable[[Path], Process]]:
    made: list[Process] = []

    def start(folder: Path) -> Process:
        made.append(Process(folder))
        return made[-1]

    yield start
    for each in made:
        each.running.kill()
        each.running.wait()


def test_it_answers_and_ends_though_connections_are_kept(
    project: tuple[Path, str], launch: Callable[[Path], Process]
) -> None:
    folder, key = project
    api = launch(folder)
    assert api.ask("GET", "/health") == (200, None)
    assert api.ask("GET", "/api/runs")[0] == 401
    assert api.ask("GET", "/api/runs", key) == (200, [])
    status, said = api.ask("GET", "/nowhere", key)
    assert (status, said["next"]) == (404, "GET /api/project")
    with socket.create_connection(("127.0.0.1", api.port)) as used, socket.create_connection(("127.0.0.1", api.port)):
        used.sendall(b"GET /health HTTP/1.1\r\nhost: me\r\n\r\nGARBAGE\r\n\r\n")
        answered = b""
        while more := used.recv(65_536):
            answered += more
        assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
        assert json.loads(answered.rpartition(b"\r\n\r\n")[2])["error"].startswith("this is no HTTP/1.1")
        assert api.end() == 0
    assert "Traceback" not in api.log.read_text()


def test_a_changed_certificate_is_shown(project: tuple[Path, str], launch: Callable[[Path], Process]) -> None:
    folder, key = project
    authority = Authority()
    first = authority.issue()
    written = first.write(folder / "tls")
    (folder / "skyloom.toml").write_text(f"[local]\napi = {{ tls = {json.dumps(written).replace(':', ' =')} }}\n")
    api = launch(folder)
    trusted = authority.trusted()
    assert api.ask("GET", "/api/runs", key, trusted) == (200, [])
    assert ssl.get_server_certificate(("127.0.0.1", api.port)) == first.pem.decode()
    kept = http.client.HTTPSConnection("localhost", api.port, context=trusted, timeout=PATIENCE_S)
    kept.request("GET", "/health")
    assert kept.getresponse().read() == b""
    second = authority.issue()
    second.write(folder / "tls")
    until(lambda: ssl.get_server_certificate(("127.0.0.1", api.port)) == second.pem.decode())
    kept.request("GET", "/health")  # the connection that there was goes on
    assert kept.getresponse().status == 200
    assert api.end() == 0
    kept.close()


def test_bodies_that_are_too_long_too_slow_or_broken_are_refused(
    project: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_app, "_BODY_S", 0.2)
    folder, key = project
    platform = open_platform(folder)
    application = Application(platform, routes(platform))
    head = f"POST {PROMOTE} HTTP/1.1\r\nhost: me\r\nauthorization: Bearer {key}\r\n"
    chunk = b"%x\r\n%b\r\n" % (300_000, b" " * 300_000)
    sent = {
        413: [head.encode() + b"transfer-encoding: chunked\r\n\r\n" + chunk * 4 + b"0\r\n\r\n"],
        408: [head.encode() + b"content-length: 10\r\n\r\nhalf"],
        400: [head.encode() + b"content-length: 10\r\n\r\nhalf", None],
    }

    async def answered(contents: list[bytes | None]) -> bytes:
        with listening(Listen()) as listener:
            asgi = Asgi(application.asgi, application.explain)
            server = HttpServer(asgi.answer, application.explain, listener)
            serving = asyncio.create_task(server.serve())
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            for each in contents:
                writer.write_eof() if each is None else writer.write(each)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            found = head + await asyncio.wait_for(reader.readexactly(length), PATIENCE_S)
            writer.close()
            server.stop()
            await asyncio.wait_for(serving, PATIENCE_S)
            return found

    for status, contents in sent.items():
        found = run(answered(list(contents)))
        assert found.startswith(f"HTTP/1.1 {status} ".encode()), found
        assert b"the body " in json.loads(found.partition(b"\r\n\r\n")[2])["error"].encode()
