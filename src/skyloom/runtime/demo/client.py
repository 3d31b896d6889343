"""A client of the data plane that keeps several connections busy."""

import http.client
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from skyloom.kernel.errors import SkyloomError

Answered = Callable[[Any], None]


class Client:
    """Posts JSON to one server with one key, over connections that stay open until `settle` and take turns.

    `post` returns when the request is sent; its answer is read before its connection is used again. So requests leave in
    order, and a few are under way at a time. Not for several threads at once.
    """

    def __init__(self, url: str, key: str, connections: int = 4) -> None:
        address = urlsplit(url)
        host, port = address.hostname or "127.0.0.1", address.port
        self._connections = [http.client.HTTPConnection(host, port, timeout=30) for _ in range(connections)]
        self._waiting: list[tuple[str, Answered] | None] = [None] * connections
        self._turn = 0
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def post(self, path: str, body: object, answered: Answered = lambda answer: None) -> None:
        """Send a body; ``answered`` is called with the decoded answer, later.

        Raises `SkyloomError` when an answer that is read meanwhile has any status but 200 and 202.
        """
        self._turn = (self._turn + 1) % len(self._connections)
        self._read(self._turn)
        self._connections[self._turn].request("POST", path, msgspec.json.encode(body), self._headers)
        self._waiting[self._turn] = path, answered

    def ready(self, path: str) -> bool:
        """Whether the server says yes there, once what was sent before is answered."""
        self._read(0)
        self._connections[0].request("GET", path, headers=self._headers)
        response = self._connections[0].getresponse()
        response.read()
        return response.status == 200

    def settle(self) -> None:
        """Read every answer that is still to come, and hang up: the server would close what stays idle for long."""
        for turn, connection in enumerate(self._connections):
            self._read(turn)
            connection.close()

    def _read(self, turn: int) -> None:
        waiting, self._waiting[turn] = self._waiting[turn], None
        if waiting is None:
            return
        path, answered = waiting
        try:
            response = self._connections[turn].getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise SkyloomError(f"{path} was not answered", tried=f"{type(error).__name__}: {error}") from error
        if response.status not in (200, 202):
            raise SkyloomError(f"{path} answered {response.status}: {answer[:300].decode(errors='replace')}")
        answered(msgspec.json.decode(answer))
