"""SageMaker, as a container sees it: a proxy that strips what SageMaker strips, and puts errors as SageMaker does."""

import http.client
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

KEPT = frozenset(
    {
        "content-type",
        "accept",
        "x-amzn-sagemaker-custom-attributes",
        "x-amzn-sagemaker-target-model",
        "x-amzn-sagemaker-target-variant",
        "x-amzn-sagemaker-target-container-hostname",
        "x-amzn-sagemaker-inference-id",
        "x-amzn-sagemaker-enable-explanations",
        "x-amzn-sagemaker-inference-component",
        "x-amzn-sagemaker-session-id",
    }
)
RETURNED = frozenset({"content-type", "x-amzn-sagemaker-custom-attributes"})


@contextmanager
def sagemaker(container: int) -> Iterator[str]:
    """The address of an endpoint whose container listens on the port ``container``: it answers at once, by a stream of
    events, and later (the answer then lies at the ``OutputLocation``, under the same address)."""
    stored: dict[str, bytes] = {}

    class Endpoint(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            sent = {name.lower(): value for name, value in self.headers.items()}
            for name in ("content-type", "accept"):  # as these two operations name them
                if (given := sent.pop(f"x-amzn-sagemaker-{name}", None)) is not None:
                    sent[name] = given
            headers = {name: value for name, value in sent.items() if name in KEPT}
            if self.path.endswith("/invocations-response-stream"):
                self._stream(body, headers)
            elif self.path.endswith("/async-invocations"):
                self._later(body, headers)
            else:
                self._now(body, headers)

        def do_GET(self) -> None:
            self._reply(200 if self.path in stored else 404, {}, stored.get(self.path, b""))

        def _now(self, body: bytes, headers: dict[str, str]) -> None:
            target = unquote(headers.get("x-amzn-sagemaker-target-model", "")).removesuffix(".tar.gz")
            if target:
                load = json.dumps({"model_name": target, "url": f"/opt/ml/models/{target}/model"}).encode()
                forward(container, "/models", load, {"content-type": "application/json"})
            status, returned, answer = forward(
                container, f"/models/{target}/invoke" if target else "/invocations", body, headers
            )
            if status != 200:
                self._failed(status, answer)
            else:
                self._reply(200, returned, answer)

        def _later(self, body: bytes, headers: dict[str, str]) -> None:
            name = headers["x-amzn-sagemaker-inference-id"]
            status, _, answer = forward(container, "/invocations", body, headers)
            where = f"/{'output' if status == 200 else 'failure'}/{name}.out"
            stored[where] = answer
            told = {"x-amzn-sagemaker-outputlocation": where, "content-type": "application/json"}
            self._reply(202, told, json.dumps({"InferenceId": name}).encode())

        def _stream(self, body: bytes, headers: dict[str, str]) -> None:
            """Each chunk of the container's is an event, sent on when it comes."""
            with closing(http.client.HTTPConnection("127.0.0.1", container, timeout=20)) as connection:
                connection.request("POST", "/invocations", body, headers)
                answer = connection.getresponse()
                if answer.status != 200:
                    self._failed(answer.status, answer.read())
                    return
                self.send_response(200)
                self.send_header("content-type", "application/vnd.amazon.eventstream")
                self.send_header("x-amzn-sagemaker-content-type", answer.headers["content-type"])
                self.send_header("connection", "close")
                self.end_headers()
                while piece := answer.read1(1 << 20):
                    self.wfile.write(event({":event-type": "PayloadPart", ":message-type": "event"}, piece))
            self.close_connection = True

        def _failed(self, status: int, answer: bytes) -> None:
            told = {"OriginalStatusCode": status, "OriginalMessage": answer.decode(), "LogStreamArn": "arn:x"}
            body = json.dumps({"Message": "Received an error from the model", **told}).encode()
            self._reply(424, {"content-type": "application/json", "x-amzn-errortype": "ModelError"}, body)

        def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Said to nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def event(headers: dict[str, str], payload: bytes) -> bytes:
    """A message of ``application/vnd.amazon.eventstream``: lengths, their checksum, headers of texts, payload, checksum."""
    named = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(named) + len(payload), len(named))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + named + payload
    return message + struct.pack(">I", zlib.crc32(message))


def forward(port: int, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """What the container answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        returned = {name.lower(): value for name, value in answer.getheaders() if name.lower() in RETURNED}
        return answer.status, returned, answer.read()
    finally:
        connection.close()
