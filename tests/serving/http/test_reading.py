"""Laws of reading: requests are the same however they are cut, and as another parser (h11) reads them, or are refused."""

import asyncio
from itertools import pairwise

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from load import SOAK
from wires import Got, Wire, answers

TOKEN = st.text("abcXYZ019-_!~", min_size=1, max_size=8)
VALUE = st.text('ab c\t\xe9,;=:"', max_size=12).map(lambda text: text.strip(" \t"))
OWS = st.sampled_from(["", " ", "\t", "  "])
PATH = st.text("/abc%2fé:.;-", max_size=12).map(
    lambda text: "/" + text.replace("é", "%C3%A9").replace("%2f", "").replace("%", "")
)
BODY = st.binary(max_size=40)
TAKEN = {
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "expect",
    "proxy-connection",
    "http2-settings",
}


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A valid request that keeps its connection."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"]))
    query = draw(st.sampled_from(["", "?", "?a=b&c", "?x=%20?"]))
    lines = [f"{method} {draw(PATH)}{query} HTTP/1.1", "Host: x"]
    for name, value in draw(st.lists(st.tuples(TOKEN, VALUE), max_size=4)):
        if name.lower() not in TAKEN:
            lines.append(f"{name}:{draw(OWS)}{value}{draw(OWS)}")
    if draw(st.booleans()):
        lines += ["Connection: keep-alive, Upgrade", "Upgrade: h2c"]
    how, body = draw(st.sampled_from(["none", "length", "chunks"])), draw(BODY)
    if how == "none":
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
    if how == "length":
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    chunks = b"".join(
        b"%x%b\r\n%b\r\n" % (len(each), draw(st.sampled_from([b"", b";e=1"])), each) for each in pieces if each
    )
    trailers = draw(st.sampled_from([b"", b"X-T: evil\r\n", b"Host: evil\r\nAuthorization: evil\r\n", b"X:\r\n"]))
    return (
        "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode("latin-1")
        + chunks
        + b"0\r\n"
        + trailers
        + b"\r\n"
    )


async def told(raw: bytes, cuts: list[int]) -> tuple[list[Got], bytes, bool]:
    wire = Wire()
    edges = [0, *sorted(cuts), len(raw)]
    await wire.send(*(raw[a:b] for a, b in pairwise(edges) if a < b))
    wire.server.heads.date = ""
    return wire.seen, bytes(wire.transport.written), wire.ended


@settings(max_examples=150 * SOAK, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=4), st.data())
def test_however_requests_are_cut_they_are_the_same_and_their_answers_too(sent: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(sent)
    cuts = data.draw(st.lists(st.integers(1, len(raw)), max_size=8))
    whole, cut, crumbs = (
        asyncio.run(told(raw, [])),
        asyncio.run(told(raw, cuts)),
        asyncio.run(told(raw, list(range(len(raw))))),
    )
    assert whole[0] == cut[0] == crumbs[0]
    assert len(whole[0]) == len(sent)
    heads = "".join("H" if each.startswith(b"HEAD ") else "-" for each in sent)
    assert answers(whole[1], heads) == answers(cut[1], heads) == answers(crumbs[1], heads)
    assert [status for status, _ in answers(whole[1], heads)] == [200] * len(sent)
    assert not whole[2]


def by_h11(raw: bytes) -> tuple[list[Got], bool]:
    """The whole requests that h11 reads, and whether it refuses what follows."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(raw)
    found: list[Got] = []
    head, body = None, b""
    try:
        while True:
            event = connection.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return found, False
            elif isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                found.append(_got(head, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if (connection.our_state, connection.their_state) != (h11.DONE, h11.DONE):
                    return found, False
                connection.start_next_cycle()
    except h11.RemoteProtocolError:
        return found, True


def _got(head: h11.Request, body: bytes) -> Got:
    headers: dict[str, str] = {}
    for name, value in head.headers:
        word, said = name.decode(), value.decode("latin-1")
        headers[word] = f"{headers[word]}, {said}" if word in headers else said
    path, _, query = head.target.decode().partition("?")
    return Got(head.method.decode(), path, query, headers, body)


def alike(got: Got) -> Got:
    """Without what an offer of another protocol leaves, and without the white space of lists."""
    offers = {"upgrade", "connection"}
    lists = {name: ",".join(each.strip() for each in said.split(",")) for name, said in got.headers.items()}
    return got._replace(headers={name: said for name, said in lists.items() if name not in offers})


async def read(raw: bytes) -> Wire:
    wire = Wire()
    await wire.send(raw)
    return wire


@settings(max_examples=300 * SOAK, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=3))
def test_what_is_right_is_read_as_another_parser_reads_it(sent: list[bytes]) -> None:
    wire = asyncio.run(read(b"".join(sent)))
    theirs, refused = by_h11(b"".join(sent))
    assert not refused
    assert [alike(each) for each in wire.seen] == [alike(each) for each in theirs]


NOISE = st.sampled_from(
    [
        *(bytes([each]) for each in b"\r\n\0 \t:,015f-+x;/?%\xff\x0b"),
        b"\r\n\r\n", b" HTTP/1.1", b"HTTP/1.0", b"0\r\n\r\n", b";a=b", b"Connection: close\r\n", b"Host: y\r\n",
        b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = b"".join(draw(st.lists(requests(), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(1, 3))):
        at, how = draw(st.integers(0, len(raw) - 1)), draw(st.integers(0, 3))
        if how == 0:
            raw = raw[:at] + draw(NOISE) + raw[at:]
        elif how == 1:
            raw = raw[:at] + draw(NOISE) + raw[at + 1 :]
        elif how == 2:
            raw = raw[:at] + raw[at + 1 :]
        else:
            end = raw.find(b"\r\n", at)
            raw = raw[: end + 2] + draw(NOISE) + raw[end + 2 :] if end >= 0 else raw
        raw = raw or b"\r\n"
    return raw


@settings(max_examples=600 * SOAK, deadline=None)
@given(damaged())
def test_what_is_damaged_is_read_as_another_parser_reads_it_or_refused(raw: bytes) -> None:
    """Where both read a request it is the same one, and none is read that the other does not see."""
    wire = asyncio.run(read(raw))
    theirs, _ = by_h11(raw)
    for ours, other in zip(wire.seen, theirs, strict=False):
        assert alike(ours)._replace(path="", query="") == alike(other)._replace(path="", query="")
    if len(wire.seen) > len(theirs):
        assert _lenient(raw), (wire.seen[len(theirs) :], raw)
    statuses = [] if b"HEAD" in raw else [status for status, _ in wire.answers]
    assert all(status in (200, 400, 405, 414, 431) for status in statuses)
    assert statuses.count(400) <= 1


def _lenient(raw: bytes) -> bool:
    """Spaces between the words of a request line, and empty lines before it, are read over by llhttp alone."""
    return b"  " in raw or b" \t" in raw or raw[:1] in b"\r\n" or b"\r\n\r\n\r\n" in raw or b"\n\r\n" in raw
