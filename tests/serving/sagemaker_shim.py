"""SageMaker, as a container sees it: a proxy that strips what SageMaker strips, and puts errors as SageMaker does."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
    """The address of an endpoint whose container listens on the port ``container``."""

    class Endpoint(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items() if name.lower() in KEPT}
            target = unquote(headers.get("x-amzn-sagemaker-target-model", "")).removesuffix(".tar.gz")
            if target:
                load = json.dumps({"model_name": target, "url": f"/opt/ml/models/{target}/model"}).encode()
                forward(container, "/models", load, {"content-type": "application/json"})
            status, returned, answer = forward(
                container, f"/models/{target}/invoke" if target else "/invocations", body, headers
            )
            if status != 200:
                told = {"OriginalStatusCode": status, "OriginalMessage": answer.decode(), "LogStreamArn": "arn:x"}
                answer = json.dumps({"Message": "Received an error from the model", **told}).encode()
                returned = {"content-type": "application/json", "x-amzn-errortype": "ModelError"}
            self.send_response(424 if status != 200 else 200)
            for name, value in {**returned, "content-length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

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
