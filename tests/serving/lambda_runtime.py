"""The runtime API of AWS Lambda, as a sandbox offers it: one process asks for invocations, tests give them.

Source: the Lambda developer guide, "Using the Lambda runtime API for custom runtimes".
"""

import http.client
import json
import queue
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple

LONGEST = 6 * 2**20 + 100


class Outcome(NamedTuple):
    """What became of an invocation: ``response`` or ``error`` (or ``init``), its body, and the type of an error."""

    kind: str
    body: bytes
    error_type: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Given(NamedTuple):
    id: str
    event: bytes
    deadline_ms: int


class FakeRuntime:
    """A runtime API on ``address``."""

    def __init__(self) -> None:
        self.asks = self.given = 0
        """How often a process has asked for an invocation, and how many there were."""
        self.started = queue.SimpleQueue[Outcome]()
        """What a process said that could not begin."""
        self._given: queue.SimpleQueue[_Given | None] = queue.SimpleQueue()
        self._counting = threading.Lock()
        self._open: dict[str, queue.SimpleQueue[Outcome]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FakeRuntime":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for _ in range(8):
            self._given.put(None)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def invoke(self, event: object, seconds: float = 30.0) -> Outcome:
        """What the process makes of an event, which it is given ``seconds`` for."""
        given = _Given(str(uuid.uuid4()), _bytes(event), int((time.time() + seconds) * 1_000))
        self.given += 1
        waiting = self._open[given.id] = queue.SimpleQueue()
        self._given.put(given)
        return waiting.get(timeout=60.0)

    def next(self) -> _Given | None:
        """What is asked for next; ``None`` at the end."""
        with self._counting:
            self.asks += 1
        return self._given.get()

    def end(self, path: str, outcome: Outcome) -> tuple[int, str]:
        """An outcome comes in; the status that it is answered with, and the type of the error."""
        if path == "/2018-06-01/runtime/init/error":
            self.started.put(outcome._replace(kind="init"))
            return 202, ""
        *front, name, what = path.split("/")
        waiting = self._open.get(name)
        if front != ["", "2018-06-01", "runtime", "invocation"] or what not in ("response", "error") or waiting is None:
            return 400, "InvalidRequestID"
        if what == "response" and len(outcome.body) > LONGEST:
            return 413, "Function.ResponseSizeTooLarge"
        del self._open[name]
        waiting.put(outcome._replace(kind=what))
        return 202, ""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                given = fake.next() if self.path == "/2018-06-01/runtime/invocation/next" else None
                if given is None:
                    self.send_error(http.client.FORBIDDEN)
                    return
                headers = {
                    "Lambda-Runtime-Aws-Request-Id": given.id,
                    "Lambda-Runtime-Deadline-Ms": str(given.deadline_ms),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:late",
                    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=1",
                    "Content-Type": "application/json",
                }
                self._send(200, given.event, headers)

            def do_POST(self) -> None:
                body = self._body()
                kind = self.headers.get("Lambda-Runtime-Function-Error-Type", "")
                status, fault = fake.end(self.path, Outcome("", body, kind))
                answer = {"errorType": fault, "errorMessage": fault} if fault else {"status": "OK"}
                self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers["Content-Length"]))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Said to nobody."""

        return Handler


def _bytes(event: object) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()
