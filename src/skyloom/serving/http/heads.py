"""Heads of requests and answers: what one may say (RFC 9110, RFC 9112), and the bytes of the other."""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from httptools import HttpParserError

from skyloom.serving.http.request import Headers

_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}" for each in HTTPStatus}
_REMEMBERED = 64
BODILESS = frozenset({204, 304})

METHODS = {each.encode(): each for each in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")}
NAMES = {
    spelled: each
    for each in (
        "host",
        "authorization",
        "content-type",
        "content-length",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
    )
    for spelled in (each.encode(), each.title().encode())
}
"""The names that most requests have, as most clients spell them."""


class Malformed(Exception):
    """A request that cannot be answered as it stands: the status that says so, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


def fault_of(error: HttpParserError) -> Malformed:
    """What is wrong with a request that a parser, or what it called, has refused. Without the traceback, which would keep
    alive what it has seen."""
    found = error.__context__
    if isinstance(found, Malformed):
        return Malformed(found.status, found.why)
    return Malformed(400, f"this is no HTTP/1.1: {error}")


def too_long(longest: int) -> Malformed:
    """A head of more than ``longest`` bytes."""
    return Malformed(431, f"the head is longer than {longest:,} bytes")


def check_coding(headers: dict[str, str], version: str) -> None:
    """Of a request with a header `Transfer-Encoding`. Raises `Malformed` for all but chunks of HTTP/1.1 (RFC 9112, 6.1)."""
    if version == "1.0":
        raise Malformed(400, "HTTP/1.0 knows no chunks: send the length of the body")
    if headers["transfer-encoding"].lower() != "chunked":
        raise Malformed(400, "this server takes no transfer coding but chunks")


class Target(NamedTuple):
    """What a request asks for: a decoded path, and what stood behind the question mark."""

    path: str
    query: str


def target_of(said: bytes) -> Target:
    """The target of a request, which names a path, or a whole address of one. Raises `Malformed` for another.

    >>> target_of(b"/v2/models/a%20b?x=1"), target_of(b"http://host:80/predict").path
    (Target(path='/v2/models/a b', query='x=1'), '/predict')
    """
    path, _, query = said.partition(b"?")
    if not path.startswith(b"/"):
        scheme, found, rest = path.partition(b"://")
        if found and scheme.isalpha():
            path = b"/" + rest.partition(b"/")[2]
        elif path != b"*":
            raise Malformed(400, "the target of the request is no path")
    try:
        return Target((unquote_to_bytes(path) if b"%" in path else path).decode(), query.decode("ascii"))
    except UnicodeDecodeError:
        raise Malformed(400, "the target of the request is no text in UTF-8") from None


def options_without_upgrade(said: str) -> str:
    """What a header `Connection` says beside the offer to speak another protocol.

    >>> options_without_upgrade("close, Upgrade, HTTP2-Settings")
    'close'
    """
    options = (each.strip() for each in said.split(","))
    return ", ".join(each for each in options if each.lower() not in ("", "upgrade", "http2-settings"))


def head_without_upgrade(method: bytes, target: bytes, version: str, headers: dict[str, str]) -> bytes:
    """The head of a request, without its offer to speak another protocol.

    >>> head_without_upgrade(b"GET", b"/", "1.1", {"host": "x", "connection": "upgrade", "upgrade": "h2c"})
    b'GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n'
    """
    kept = {name: said for name, said in headers.items() if name not in ("connection", "upgrade", "http2-settings")}
    if options := options_without_upgrade(headers.get("connection", "")):
        kept["connection"] = options
    lines = [f"HTTP/{version}", *(f"{name}: {said}" for name, said in kept.items()), "", ""]
    return b" ".join((method, target, "\r\n".join(lines).encode("latin-1")))


def head_of(status: int, headers: Headers, framing: str, date: str) -> bytes:
    """The head of an answer. ``framing`` is the header that says where its body ends, if any; ``date`` is a `date_line`.

    Raises `ValueError` for a header that would end the head, or begin another one.

    >>> head_of(200, [("x-a", "b")], "content-length: 2", "date: now")
    b'HTTP/1.1 200 OK\\r\\nx-a: b\\r\\ncontent-length: 2\\r\\ndate: now\\r\\n\\r\\n'
    """
    lines = [_LINES.get(status) or f"HTTP/1.1 {status} "]
    lines += [f"{name}: {value}" for name, value in headers]
    if framing and status not in BODILESS:
        lines.append(framing)
    lines += (date, "", "")
    text = "\r\n".join(lines)
    ends = len(lines) - 1
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise ValueError(f"a header of an answer of status {status} holds the end of a line")
    return text.encode("latin-1", "replace")


class Heads:
    """Makes the heads of whole answers. Most are one of a few, but for their length and the time."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int, str], bytes] = {}
        self.tell_time()

    def tell_time(self) -> None:
        """Look at the clock: what heads say of the time is as old as this."""
        self.date = date_line()
        self._end = f"\r\n{self.date}\r\n\r\n".encode()

    def of(self, status: int, headers: Headers, length: int) -> bytes:
        """The head of an answer whose body has ``length`` bytes. Raises as `head_of`."""
        if len(headers) != 1 or headers[0][0] != "content-type" or status in BODILESS:
            if length and status in BODILESS:
                raise ValueError(f"an answer of status {status} has a body")
            return head_of(status, headers, f"content-length: {length}", self.date)
        begun = self._begun.get((status, headers[0][1]))
        if begun is None:
            begun = self._begin(status, headers)
        return b"%b%d%b" % (begun, length, self._end)

    def _begin(self, status: int, headers: Headers) -> bytes:
        made = head_of(status, headers, "content-length: ", "").removesuffix(b"\r\n" * 3)
        if len(self._begun) >= _REMEMBERED:
            self._begun.clear()
        self._begun[status, headers[0][1]] = made
        return made


def date_line() -> str:
    """The header that says when an answer was made, to the second.

    >>> date_line()[:6], date_line()[-4:]
    ('date: ', ' GMT')
    """
    return f"date: {formatdate(time.time(), usegmt=True)}"
