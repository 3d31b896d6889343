"""A server as its clients on any platform see it, and what its models answer."""

import http.client
import json
from typing import Any, NamedTuple

import numpy as np
from serving_world import PATIENCE_S, ServerProcess, World


def score(distance: float, base: float = 0.25) -> float:
    return float(np.float32(distance) * np.float32(0.001) + np.float32(base))


SCORES = [score(distance) for distance in (0.0, 100.0, 500.0)]
"""For the fixture ``flights``."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Cloud:
    """A server and the world that it serves."""

    def __init__(self, world: World, server: ServerProcess) -> None:
        self.world, self.server = world, server

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """``content_type="text/csv"`` is the header ``content-type``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE_S)
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.server.key:
            sent.setdefault("authorization", f"Bearer {self.server.key}")
        try:
            connection.request(method, path, payload, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: object, **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)
