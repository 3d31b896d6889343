"""Heads: what a target may be, and answers that hold what they were given and nothing more."""

import string

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.serving.http.heads import Heads, Malformed, head_of, options_without_upgrade, target_of

NAMES = st.text(string.ascii_lowercase + "-", min_size=1, max_size=9).filter(lambda name: name != "connection")
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=9)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
FRAMED = {"content-length", "transfer-encoding", "date"}


def read(raw: bytes) -> tuple[int, list[tuple[str, str]]]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(raw)
    event = client.next_event()
    assert isinstance(event, h11.Response)
    assert client.trailing_data[0] == b""
    return event.status_code, [(name.decode(), value.decode()) for name, value in event.headers]


@given(st.integers(200, 599), HEADERS, st.integers(0, 10**12))
def test_heads_say_what_they_are_given(status: int, headers: list[tuple[str, str]], length: int) -> None:
    headers = [each for each in headers if each[0] not in FRAMED]
    heads = Heads()
    for given_headers in (headers, [("content-type", "a/b")], [("content-type", "a/b")]):
        if status in (204, 304):
            length = 0
        found, said = read(heads.of(status, given_headers, length))
        framing = [] if status in (204, 304) else [("content-length", str(length))]
        assert found == status
        assert sorted(said) == sorted([*given_headers, *framing, ("date", heads.date[6:])])


@given(st.integers(200, 599), st.text(max_size=6), st.text(max_size=6))
def test_no_header_makes_another_one(status: int, name: str, value: str) -> None:
    try:
        head = head_of(status, [("a", "b"), (f"x{name}", value)], "content-length: 0", "date: now")
    except ValueError:
        assert any(each in name + value for each in "\r\n\0")
    else:
        lines = head.split(b"\r\n")
        assert len(lines) == 7 - (status in (204, 304))
        assert head.count(b"\n") == head.count(b"\r") == len(lines) - 1
        assert lines[-2:] == [b"", b""]


@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\nb", "a\rb", "a\0"])
def test_a_remembered_head_is_as_careful(bad: str) -> None:
    heads = Heads()
    for _ in range(2):
        with pytest.raises(ValueError, match="holds the end of a line"):
            heads.of(200, [("content-type", bad)], 0)


def test_an_answer_that_has_no_body_is_given_none() -> None:
    with pytest.raises(ValueError, match="204 has a body"):
        Heads().of(204, [("content-type", "a/b")], 2)


def test_remembered_heads_are_few() -> None:
    heads = Heads()
    for number in range(10_000):
        heads.of(200, [("content-type", f"a/{number}")], 1)
    assert len(heads._begun) < 1_000
    assert heads.of(200, [("content-type", "a/1")], 5).startswith(
        b"HTTP/1.1 200 OK\r\ncontent-type: a/1\r\ncontent-length: 5\r\n"
    )


def test_a_head_tells_the_time_of_the_last_look() -> None:
    heads = Heads()
    heads.of(200, [("content-type", "a/b")], 1)
    heads.date = "date: old"
    heads.tell_time()
    assert heads.date.encode() in heads.of(200, [("content-type", "a/b")], 1)


@pytest.mark.parametrize(
    "said", [b"", b"a", b"?a", b"**", b"h:80", b"/\xff", b"/%ff", b"/%c3", b"1x://h/a", b"/a?\xc3\xa4", b"://h/"]
)
def test_targets_that_name_no_path(said: bytes) -> None:
    with pytest.raises(Malformed) as found:
        target_of(said)
    assert found.value.status == 400


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.text("abc=&%?/", max_size=8))
def test_every_path_in_utf_8_can_be_asked_for(path: str, query: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in path.encode())
    assert target_of(f"/{quoted}?{query}".encode()) == (f"/{path}", query)
    assert target_of(f"HTTPS://h:1/{quoted}?{query}".encode()) == (f"/{path}", query)


@pytest.mark.parametrize(
    ("said", "left"),
    [("", ""), ("Upgrade", ""), ("keep-alive, UPGRADE", "keep-alive"), ("close,upgrade , x", "close, x"), (",, ,", "")],
)
def test_an_offer_is_taken_out_of_the_options(said: str, left: str) -> None:
    assert options_without_upgrade(said) == left
