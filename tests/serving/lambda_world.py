"""A Lambda function of a world, in a process of its own, and buckets to read from."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import serving_world
from lambda_runtime import FakeRuntime
from serving_world import World

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-west-1"}


class Function:
    """The process; ``said()`` is what it wrote to its log."""

    def __init__(self, folder: Path, runtime: FakeRuntime, environ: dict[str, str], **options: Any) -> None:
        self._errors = (folder / f"stderr-{time.monotonic_ns()}").open("w+")
        told = {"AWS_LAMBDA_RUNTIME_API": runtime.address, **environ}
        words = {"function": True, "environ": told, "model": "late", **options}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", serving_world.__file__, str(folder), json.dumps(words)],
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **CREDENTIALS, "SKYLOOM_PARENT_PID": str(os.getpid())},
        )

    def said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def end(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self._errors.close()


class Buckets:
    """What is stored: (bucket, key) -> bytes, and the media types that objects have."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.types: dict[tuple[str, str], str] = {}
        self.url = ""


class Lambda(NamedTuple):
    """A function under test, what it reads, and the key of its world."""

    world: World
    runtime: FakeRuntime
    function: Function
    stored: Buckets
    key: str


@contextmanager
def buckets() -> Iterator[Buckets]:
    """The part of S3's REST API that reads and writes an object, by paths (``/BUCKET/KEY``)."""
    stored = Buckets()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            name = self._name()
            body = stored.objects.get(name)
            if body is None:
                self._send(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>", "application/xml")
            else:
                self._send(200, body, stored.types.get(name, "binary/octet-stream"))

        def do_PUT(self) -> None:
            assert self.headers.get("Content-Encoding", "") != "aws-chunked"
            stored.objects[self._name()] = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(200, b"", "application/xml")

        def _name(self) -> tuple[str, str]:
            bucket, _, key = unquote(urlsplit(self.path).path).removeprefix("/").partition("/")
            return bucket, key

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), "ETag": '"0"'}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Said to nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        stored.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stored
        finally:
            server.shutdown()
            thread.join()
