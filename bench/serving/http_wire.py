"""HTTP/1.1 for the load generator: requests made beforehand, connections kept, nothing pipelined."""

import itertools
from collections.abc import Mapping, Sequence

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Http:
    """One connection. It asks ``requests`` in turn, beginning with the one at ``first``."""

    def __init__(self, requests: Sequence[bytes], first: int = 0) -> None:
        self._next = itertools.cycle([*requests[first:], *requests[:first]]).__next__
        self._held, self._wanted = b"", 0

    def opening(self) -> bytes:
        return b""

    def request(self) -> bytes:
        return self._next()

    def feed(self, data: bytes) -> tuple[bool, bytes]:
        if self._held:
            data = self._held + data
        if not self._measured(data):
            self._held = data
            return False, b""
        self._held, self._wanted = b"", 0
        return True, b""

    def _measured(self, data: bytes) -> bool:
        """Whether an answer is whole."""
        if self._wanted:
            return len(data) >= self._wanted
        end = data.find(_END)
        if end < 0:
            return False
        head = data[:end].lower()
        if head[9:12] != b"200":
            raise RuntimeError(f"answered {data[:400]!r}")
        at = head.find(_LENGTH)
        if at < 0:
            return data.endswith(b"0\r\n\r\n")  # chunks
        stop = head.find(b"\r\n", at)
        self._wanted = end + 4 + int(head[at + len(_LENGTH) : stop if stop > 0 else end])
        return len(data) >= self._wanted


def posts(path: str, bodies: Sequence[bytes], headers: Mapping[str, str] | None = None) -> list[bytes]:
    """The bytes of requests."""
    told = {"Host": "127.0.0.1", "Content-Type": "application/json", **(headers or {})}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]


def body_of(answer: bytes) -> bytes:
    """The body of a whole answer, chunks put together."""
    head, _, body = answer.partition(_END)
    if _LENGTH in head.lower():
        return body
    parts: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(parts)
