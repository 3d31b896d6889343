"""A client that costs little: requests made beforehand, one connection, one at a time."""

import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

_PATIENCE_S = 20.0


class Connection:
    """One kept connection to a server."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host = f"{address.hostname}:{address.port}"
        self._socket = _connected(address.hostname or "", address.port or 0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, path: str, body: bytes, headers: str = "") -> bytes:
        """The bytes of a request, to be sent as they are."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\n{headers}Content-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def ask(self, request: bytes) -> bytes:
        """Send a request and read the body of its answer, which must be one of success."""
        self._socket.sendall(request)
        read = b""
        while (end := read.find(b"\r\n\r\n")) < 0:
            read += self._more()
        head, body = read[:end].lower(), read[end + 4 :]
        at = head.index(b"content-length:") + len(b"content-length:")
        length = int(head[at:].split(b"\r\n", 1)[0])
        while len(body) < length:
            body += self._more()
        if not head.split(b" ", 2)[1].startswith(b"2"):
            raise RuntimeError(f"answered {head[:40]!r}: {body[:300]!r}")
        return body

    def _more(self) -> bytes:
        chunk = self._socket.recv(65_536)
        if not chunk:
            raise RuntimeError("the server closed the connection")
        return chunk

    def times(self, requests: Sequence[bytes]) -> list[float]:
        """The seconds of each request, sent one after the other."""
        taken: list[float] = []
        for request in requests:
            begun = time.perf_counter()
            self.ask(request)
            taken.append(time.perf_counter() - begun)
        return taken


def _connected(host: str, port: int) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return socket.create_connection((host, port), timeout=_PATIENCE_S)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
