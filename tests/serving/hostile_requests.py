"""Requests that nobody should send, made by a generator of random numbers: the same ones for the same seed."""

import gzip
import io
import json
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet
from serving_world import NOW

from skyloom.kernel.contracts import CONTRACTS
from skyloom.serving.contracts.catalog import endpoints_of
from skyloom.serving.exchange import Exchange
from skyloom.serving.life import Life
from skyloom.serving.services import Limits

ROW = {"flight_id": "h", "scheduled": NOW, "carrier": "UA", "distance": 500.0, "seats": 5, "charter": False}
LANDING = {"flight_id": "h", "landed": NOW, "carrier": "UA", "delay": 3.0}
WORDS = {"model": "late", "version": "1", "source": "landings", "name": "late", "function": "late"}


class Attack(NamedTuple):
    """One request. ``framed``: where it ends can be told, so that it must be answered."""

    kind: str
    raw: bytes
    framed: bool = True
    timed: bool = False
    """Whether it says a deadline, which may have passed."""


def paths() -> list[tuple[str, str]]:
    """Every route of every contract, its words in braces filled in."""
    unused: Any = None

    class Parts:
        answering = inference = ingestion = metrics = unused
        exchange = Exchange(unused, unused, None, 1)
        life, limits, environ = Life(), Limits(), dict[str, str]()

    found: list[tuple[str, str]] = []
    for each in endpoints_of(Parts(), list(CONTRACTS)):  # type: ignore[arg-type]
        path = each.path
        for word, value in WORDS.items():
            path = path.replace(f"{{{word}}}", value)
        found.append((each.method, path.replace("{endpoint}", "1").replace("{deployed}", "2")))
    return found


_OIP = {
    "inputs": [
        {"name": "flight_id", "shape": [1], "datatype": "BYTES", "data": ["h"]},
        {"name": "scheduled", "shape": [1], "datatype": "INT64", "data": [NOW]},
        {"name": "distance", "shape": [1, 1], "datatype": "FP32", "data": [1.0]},
        {"name": "seats", "shape": [1], "datatype": "INT32", "data": [5]},
        {"name": "charter", "shape": [1], "datatype": "BOOL", "data": [True]},
    ]
}
DOCUMENTS: list[Any] = [
    ROW,
    [ROW, ROW],
    list(ROW.values()),
    {"instances": [ROW]},
    {"inputs": {name: [value] for name, value in ROW.items()}},
    {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())]}, "params": {"outputs": ["score"]}},
    {"dataframe_records": [ROW]},
    {"input_data": {"columns": list(ROW), "index": [0], "data": [list(ROW.values())]}},
    {"examples": [ROW], "context": {"seats": 5}},
    {"signature_name": "s", "instances": [{**ROW, "carrier": {"b64": "VUE="}}]},
    _OIP,
    LANDING,
    [LANDING, LANDING],
    {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": ROW},
    [{"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data_base64": "e30="}],
    {"Records": [{"messageId": "m", "body": json.dumps(ROW), "eventSource": "aws:sqs", "messageAttributes": {}}]},
    {"Records": [{"eventSource": "aws:kinesis", "kinesis": {"sequenceNumber": "1", "data": "e30="}}]},
    {"detail-type": "x", "source": "s", "detail": ROW},
    {"Data": {"req": {"Method": "POST", "Body": json.dumps(ROW)}}, "Metadata": {}},
    {"Data": {"item": json.dumps(json.dumps([ROW]))}, "Metadata": {}},
    {"model_name": "late", "url": "/opt/ml/models/late"},
    {"ready": True},
    {"parameters": {"unload_dependents": True}},
]
TOKENS = [
    b"null", b"true", b"-0", b"1.5", b"1e400", b"-1e-999", b"NaN", b"Infinity", b"1" * 5_000, b"9223372036854775808",
    b"-9223372036854775809", b"253402300800000", b"1E+2", b"01", b"0x10", b"+1", b"''", b'""', b"[]", b"{}", b"[[]]",
    b'"\\ud800"', b'"\\u0000"', b'"\\ud83d\\ude00"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\xe2\x80\xae"',
    b'"' + b"x" * 70_000 + b'"', b'"2013-99-99T00:00:00Z"', b'"9999-12-31T23:59:60Z"', b'"0000-00-00"', b'{"b64":"%"}',
    b'{"b64":1}', b"[" * 3_000, b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900, b'"%s%n"',
    b'"../../etc/passwd"',
    b'{"a":1,"a":2}', b"[1,]", b'"\n"', b"// x", b'"$(id)"', b'{"datatype":"FP99"}', b"[-1]", b"[99999999999]", b"[0]",
]  # fmt: skip
HEADERS: list[tuple[str, bytes]] = [
    ("Content-Type", b";;;=,"), ("Content-Type", b"text/csv; header=maybe"), ("Content-Type", b"text/html"),
    ("Content-Type", b"application/json; charset=utf-16"), ("Content-Type", b"\xff\xfe/\xff"), ("Content-Type",
    b"x" * 9_000),
    ("Content-Type", b"multipart/form-data; boundary="), ("Content-Type", b"multipart/form-data; boundary=" + b"x" * 3_000),
    ("Content-Type", b"application/octet-stream; json-header-size=-1"), ("Content-Type", b"application/cloudevents+xml"),
    ("Content-Type", b"application/octet-stream; json-header-size=9" * 3), ("Content-Type", b"application/x-ndjson"),
    ("Content-Type", b"text/csv"), ("Content-Type", b"application/vnd.apache.parquet"), ("Content-Type", b"application/csv"),
    ("Content-Type", b"application/vnd.apache.arrow.stream"), ("Content-Type", b"application/cloudevents+json"),
    ("Content-Type", b"application/cloudevents-batch+json"), ("Inference-Header-Content-Length", b"-1"),
    ("Inference-Header-Content-Length", b"99999999999999999999"), ("Inference-Header-Content-Length", b"\xb2"),
    ("Inference-Header-Content-Length", b"4"), ("Accept", b"," * 3_000), ("Accept", b"text/html"), ("Accept", b"*/*;q=0"),
    ("Accept", b"application/json;q=x"), ("Accept", b"text/csv;outputs=" + b"score+" * 900), ("Accept", b"text/csv"),
    ("Accept", b"application/vnd.apache.parquet"), ("Accept-Encoding", b"gzip;q=nan, deflate;q=-1, br"),
    ("Accept-Encoding", b"gzip"), ("Content-Encoding", b"br"), ("Content-Encoding", b"gzip, gzip"), ("Content-Encoding",
    b"\xff"),
    ("Content-Encoding", b"gzip"), ("Content-Encoding", b"deflate"), ("X-Request-Timeout", b"nan"),
    ("X-Request-Timeout", b"-1"),
    ("X-Request-Timeout", b"1e999"), ("X-Request-Timeout", b"\xb2"), ("X-Request-Timeout", b"0"), ("Grpc-Timeout", b"5"),
    ("Grpc-Timeout", b"n"), ("Grpc-Timeout", b"99999999999999999999H"), ("X-Envoy-Expected-Rq-Timeout-Ms", b"1e3"),
    ("Authorization", b"Bearer"), ("Authorization", b"Bearer \xff"), ("Authorization", b"Basic Og=="), ("X-Api-Key",
    b"sky_"),
    ("Authorization", b"Bearer sky_" + b"x" * 9_000), ("Ce-Specversion", b"0.3"), ("Ce-Specversion", b"1.0"), ("Ce-Id",
    b"%00"),
    ("X-Amzn-SageMaker-Custom-Attributes", b"a%0d%0aset-cookie: x\xff"), ("X-Request-Id", b"\xe9" * 900), ("Cookie",
    b"a=" * 4_000),
    ("X-Amzn-SageMaker-Target-Model", b"../../x"), ("Traceparent", b"00-" + b"0" * 99), ("Traceparent", b"\xff"),
    ("Range", b"bytes=0-0,1-1"), ("Expect", b"200-ok"), ("Upgrade", b"h2c"), ("Host", b"evil"),
    ("X-Http-Method-Override", b"DELETE"),
    ("Forwarded", b"for=\"_x\"" * 200), ("Te", b"trailers"), ("Connection", b"x-api-key, host"), ("If-None-Match", b"*"),
]  # fmt: skip
_TIMED = {"X-Request-Timeout", "Grpc-Timeout", "X-Envoy-Expected-Rq-Timeout-Ms"}
_CODINGS = [b"gzip", b"deflate", b"x-gzip", b"GZIP ", b"identity", b"br", b"zstd", b"gzip, gzip", b"compress"]
_BOMB = gzip.compress(bytes(24 * 2**20), 9)
"""24 MiB of nothing, in 24 kB."""


class Attacks:
    """``key`` opens every route."""

    def __init__(self, seed: int, key: str) -> None:
        self.chance = random.Random(seed)
        self._auth = f"Authorization: Bearer {key}\r\nHost: localhost\r\n".encode()
        self._paths = paths()
        self._posts = [path for method, path in self._paths if method == "POST"]
        self._tables = _tables()
        self._plain = [json.dumps(each).encode() for each in DOCUMENTS]

    def __iter__(self) -> Iterator[Attack]:
        makers: list[tuple[int, Callable[[], Attack]]] = [
            (45, self.document), (15, self.damaged), (12, self.headed), (8, self.packed), (4, self.table), (4, self.target),
            (10, self.framing), (1, self.long), (1, self.half),
        ]  # fmt: skip
        weights, made = [weight for weight, _ in makers], [maker for _, maker in makers]
        while True:
            yield self.chance.choices(made, weights)[0]()

    def document(self) -> Attack:
        """A good document with one bad value, or a value in the wrong place."""
        document = json.loads(self.chance.choice(self._plain))
        holder, place = self._place(document)
        token = self.chance.choice(TOKENS)
        if holder is None:
            body = token
        elif isinstance(holder, dict) and self.chance.random() < 0.2:
            del holder[place]
            body = json.dumps(document).encode()
        else:
            holder[place] = "@@"
            body = json.dumps(document).encode().replace(b'"@@"', token)
        return self._post("document", body)

    def damaged(self) -> Attack:
        """Bytes turned, cut, doubled, or in another encoding."""
        body = bytearray(self.chance.choice(self._plain))
        at = self.chance.randrange(len(body))
        how = self.chance.randrange(6)
        if how == 0:
            body[at] = self.chance.randrange(256)
        elif how == 1:
            del body[at:]
        elif how == 2:
            body[at:at] = body[at : at + 40]
        elif how == 3:
            body = bytearray(body.decode().encode(self.chance.choice(["utf-16", "utf-32", "utf-8-sig"])))
        elif how == 4:
            body += self.chance.choice([b"}", b"\0", b" " * 99, b"{}", b"\n\n", b"\x1a"])
        else:
            body[at:at] = self.chance.randbytes(5)
        return self._post("damaged", bytes(body))

    def headed(self) -> Attack:
        """Odd headers around a good body."""
        chosen = self.chance.sample(HEADERS, self.chance.randrange(1, 4))
        timed = any(name in _TIMED for name, _ in chosen)
        method, path = self.chance.choice(self._paths)
        head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in chosen)
        body = self.chance.choice(self._plain) if method == "POST" else b""
        return Attack(f"headed {chosen}", self._raw(method, path, body, head), timed=timed)

    def packed(self) -> Attack:
        """Bombs, and bodies packed otherwise than they say."""
        body = self.chance.choice(self._plain)
        pack = self.chance.choice(
            [
                lambda: _BOMB,
                lambda: gzip.compress(body),
                lambda: gzip.compress(body)[:-5],
                lambda: gzip.compress(gzip.compress(body)),
                lambda: gzip.compress(body) * 2,
                lambda: zlib.compress(body),
                lambda: zlib.compress(body)[2:],
                lambda: b"\x1f\x8b",
                lambda: b"",
                lambda: body,
            ]
        )
        head = b"Content-Encoding: " + self.chance.choice(_CODINGS) + b"\r\n"
        return Attack("packed", self._raw("POST", self.chance.choice(self._posts), pack(), head))

    def table(self) -> Attack:
        """A table with bytes turned."""
        kind, body = self.chance.choice(self._tables)
        damaged = bytearray(body)
        for _ in range(self.chance.randrange(3)):
            damaged[self.chance.randrange(len(damaged))] = self.chance.randrange(256)
        if self.chance.random() < 0.2:
            del damaged[self.chance.randrange(len(damaged)) :]
        head = b"Content-Type: " + kind.encode() + b"\r\n"
        return Attack(f"table {kind}", self._raw("POST", self.chance.choice(self._posts), bytes(damaged), head))

    def target(self) -> Attack:
        """Paths and methods that there are not, or hardly."""
        _, path = self.chance.choice(self._paths)
        odd = self.chance.choice(
            [
                path + "/",
                path + "//",
                "/" + path,
                path.upper(),
                path + "%00",
                path + "?" + "a=b&" * 999,
                path + "/..",
                path + ";x",
                path.replace("late", "%ff%fe"),
                path.replace("late", "a" * 5_000),
                path.replace("late", "..%2f..%2fx"),
                "/%",
                "/%zz",
                path.replace("1", "-1"),
                path.replace("1", "9" * 500),
                "http://evil" + path,
                "*",
                "/" * 900,
            ]
        )
        method = self.chance.choice(
            ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "X" * 900, "CONNECT"]
        )
        raw = self._raw(method, odd, b"{}" if method not in ("GET", "HEAD", "CONNECT") else b"")
        return Attack(f"target {method} {odd[:80]}", raw, framed=False)

    def long(self) -> Attack:
        """Bodies about as long as they may be, or longer."""
        filler = self.chance.choice([b" ", b"[", b'{"a":', b"1", b"\xff", b'"', b"1,1\n"])
        size = self.chance.choice([999_999, 1_000_001, 2_000_000])
        return self._post("long", (filler * (size // len(filler) + 1))[:size])

    def half(self) -> Attack:
        """A request that breaks off."""
        whole = self._raw("POST", self.chance.choice(self._posts), self.chance.choice(self._plain))
        return Attack("half", whole[: self.chance.randrange(1, len(whole))], framed=False)

    def framing(self) -> Attack:
        """Contradictions about where a request ends."""
        body = self.chance.choice(self._plain)
        length = str(len(body)).encode()
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        hidden = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        heads = [
            (b"Content-Length: " + length + b"\r\nContent-Length: 1\r\n", body),
            (b"Content-Length: " + length + b", " + length + b"\r\n", body),
            (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunks + hidden),
            (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + hidden),
            (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunks),
            (b"Transfer-Encoding: xchunked\r\n", chunks),
            (b"Transfer-Encoding: chunked, gzip\r\n", chunks),
            (b"Transfer-Encoding : chunked\r\n", chunks),
            (b"Transfer-Encoding:\x0bchunked\r\n", chunks),
            (b"X: y\r\n Transfer-Encoding: chunked\r\n", chunks),
            (b"Content-Length: +5\r\n", body), (b"Content-Length: -5\r\n", body), (b"Content-Length: 0x9\r\n", body),
            (b"Content-Length: 99999999999999999999999\r\n", body), (b"Content-Length: \xd9\xa3\r\n", body),
            (b"Content-Length: 9223372036854775807\r\n", body), (b"Content-Length: \r\n", body),
            (b"Content-Length: " + str(len(body) + 40).encode() + b"\r\n", body),
            (b"Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"-1\r\n{}\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"2;" + b"a" * 20_000 + b"\r\n{}\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\nX: " + b"a" * 20_000 + b"\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}XX0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"1\r\n{\r\n" * 3_000),
            (b"\r\nX: y\r\n", body), (b"X\x00: y\r\n", body), (b": y\r\n", body), (b"X: \x01\r\n", body),
            (b"X" * 9_000 + b"\r\n", body),
            (b"".join(b"X%d: y\r\n" % each for each in range(400)), body),
        ]  # fmt: skip
        head, sent = self.chance.choice(heads)
        path = self.chance.choice(self._posts).encode()
        version = self.chance.choice([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""])
        raw = b"POST " + path + b" " + version + b"\r\n" + self._auth + head + b"\r\n" + sent
        noise = self.chance.random()
        if noise < 0.03:
            raw = self.chance.randbytes(self.chance.randrange(1, 400))
        elif noise < 0.06:
            raw = raw.replace(b"\r\n", b"\n")
        return Attack(f"framing {head[:60]!r} {version!r}", raw, framed=False)

    def _post(self, kind: str, body: bytes) -> Attack:
        path = self.chance.choice(self._posts)
        media = self.chance.choice([b"", b"Content-Type: application/json\r\n"])
        if path in ("/", "/cloudevents/late"):
            media = self.chance.choice(
                [
                    b"Ce-Specversion: 1.0\r\nCe-Id: 1\r\nCe-Source: /s\r\nCe-Type: t\r\n",
                    b"Content-Type: application/cloudevents+json\r\n",
                ]
            )
        return Attack(f"{kind} {path}", self._raw("POST", path, body, media))

    def _raw(self, method: str, path: str, body: bytes = b"", head: bytes = b"") -> bytes:
        length = b"Content-Length: %d\r\n" % len(body) if body or method == "POST" else b""
        line = f"{method} {path} HTTP/1.1\r\n".encode("latin-1")
        return line + self._auth + length + head + b"\r\n" + body

    def _place(self, document: Any) -> tuple[Any, Any]:
        """A random place of a document: who holds it, and under which key or index; ``None`` for the whole."""
        holder, place, found = None, None, document
        while isinstance(found, dict | list) and found and (holder is None or self.chance.random() < 0.75):
            holder = found
            place = self.chance.choice(list(found) if isinstance(found, dict) else range(len(found)))
            found = found[place]
        return (holder, place) if self.chance.random() < 0.95 else (None, None)


def _tables() -> list[tuple[str, bytes]]:
    table, sink, stream = pa.Table.from_pylist([ROW, ROW]), io.BytesIO(), io.BytesIO()
    parquet.write_table(table, sink)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    lines = json.dumps(ROW).encode() + b"\n" + json.dumps(list(ROW.values())).encode()
    header, cells = ",".join(ROW).encode(), ",".join(str(value).lower() for value in ROW.values()).encode()
    return [
        ("application/vnd.apache.parquet", sink.getvalue()),
        ("application/vnd.apache.arrow.stream", stream.getvalue()),
        ("application/x-ndjson", lines),
        ("text/csv", header + b"\n" + cells),
    ]
