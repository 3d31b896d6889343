"""HTTP/2 as gRPC's server speaks it: headers that another implementation wrote, windows, limits, hostile frames."""

import asyncio
import gzip
import json
import os
import random
import struct
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.environments import python_with

from skyloom.serving.grpc import connection as _connection
from skyloom.serving.grpc.connection import Connection
from skyloom.serving.grpc.hpack import STATIC, Decoder, HpackError, literal
from skyloom.serving.grpc.status import Code
from skyloom.serving.grpc.stream import Method, Stream

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END, WHOLE = 1, 4
LONGEST = 100_000
SOAK = int(os.environ.get("SKYLOOM_SOAK", "1"))
Frame = tuple[int, int, int, bytes]

ENCODE = """
import json, random, sys
from hpack import Encoder
from hpack.hpack import HeaderTuple, NeverIndexedHeaderTuple
draw, encoder, told = random.Random(7), Encoder(), []
names = [":path", "authorization", "grpc-timeout", "x-one", "x-two", "user-agent", "te"]
for number in range(400):
    if number % 50 == 49:
        encoder.header_table_size = draw.choice([0, 64, 300, 4096])
    fields = []
    for _ in range(draw.randrange(8)):
        kind = draw.choice([HeaderTuple, HeaderTuple, NeverIndexedHeaderTuple])
        length = draw.choice([0, 3, 40])
        value = "".join(chr(draw.choice([draw.randrange(32, 127), draw.randrange(256)])) for _ in range(length))
        if draw.random() < 0.6:
            value = draw.choice(["POST", "/a/b", "trailers", "20m", "Bearer " + "k" * 40])
        fields.append(kind(draw.choice(names).encode(), value.encode("latin-1")))
    block = encoder.encode(fields, huffman=draw.random() < 0.5)
    told.append([block.hex(), [[each.hex() for each in field] for field in fields]])
json.dump(told, sys.stdout)
"""


def test_header_blocks_are_read_as_another_implementation_wrote_them() -> None:
    program = [python_with("hpack", "hpack==4.1.0"), "-c", ENCODE]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    decoder, cached = Decoder(4_096, 1 << 20), 0
    for block, fields in json.loads(done.stdout):
        before = decoder.generation
        found = decoder.decode(bytes.fromhex(block))
        assert [[each.hex() for each in field] for field in found] == fields
        cached += decoder.generation == before
    assert cached > 10  # of blocks that leave the table alone the cache makes use


def test_the_examples_of_the_standard() -> None:
    decoder = Decoder(256, 16_384)
    blocks = (  # RFC 7541, C.6: responses with Huffman codes and a table of 256 bytes, which evicts
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f367"
        "2c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    )
    first, second, third = (decoder.decode(bytes.fromhex(block)) for block in blocks)
    assert first[0], first[2] == ((b":status", b"302"), (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"))
    assert second == [(b":status", b"307"), *first[1:]]
    assert third[-1] == (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
    assert (len(STATIC), STATIC[0], STATIC[60]) == (61, (b":authority", b""), (b"www-authenticate", b""))


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_bytes_are_read_as_anything_but_headers_or_an_error(blocks: list[bytes]) -> None:
    decoder = Decoder(128, 1_000)
    for block in blocks:
        try:
            fields = decoder.decode(block)
        except HpackError:
            return
        assert sum(len(name) + len(value) + 32 for name, value in fields) <= 1_000


class Wire:
    """A connection without a socket: what is said to it, and the frames that it says."""

    def __init__(self, methods: dict[str, Method], longest: int = LONGEST, those: set[Connection] | None = None) -> None:
        self.said, self.closed, self.reading = b"", False, True
        self.those = set[Connection]() if those is None else those
        self.connection = Connection(methods, longest, self.those)
        self.connection.connection_made(self)

    def set_write_buffer_limits(self, high: int) -> None:
        """As a transport."""

    def write(self, data: bytes) -> None:
        self.said += data

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None:
        """There is no socket."""

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.connection.connection_lost(None)

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def greet(self, told: bytes = b"") -> "Wire":
        self.connection.data_received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, told))
        return self

    def send(self, *frames: bytes) -> None:
        self.connection.data_received(b"".join(frames))

    async def settle(self) -> list[Frame]:
        """The frames that came since, once nothing goes on."""
        for _ in range(20):
            await asyncio.sleep(0)
        found, at = list[Frame](), 0
        while at < len(self.said):
            length, kind, flags = int.from_bytes(self.said[at : at + 3], "big"), self.said[at + 3], self.said[at + 4]
            number = int.from_bytes(self.said[at + 5 : at + 9], "big")
            found.append((kind, flags, number, self.said[at + 9 : at + 9 + length]))
            at += 9 + length
        self.said = b""
        return found


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + payload


def headers(path: str = "/s/Echo", **more: str) -> bytes:
    told = {":method": "POST", ":scheme": "http", ":path": path, "content_type": "application/grpc", **more}
    return b"".join(literal(name.replace("_", "-"), value) for name, value in told.items())


def message(content: bytes, packed: int = 0) -> bytes:
    return bytes([packed]) + struct.pack(">I", len(content)) + content


def ask(number: int, content: bytes = b"hello", path: str = "/s/Echo", **more: str) -> bytes:
    return frame(HEADERS, WHOLE, number, headers(path, **more)) + frame(DATA, END, number, message(content))


def ended(frames: list[Frame], number: int) -> dict[str, str]:
    """The trailers of a call."""
    block = next(payload for kind, flags, of, payload in frames if (kind, of, flags & END) == (HEADERS, number, END))
    return {name.decode(): value.decode() for name, value in Decoder(4_096, 16_384).decode(block)}


def content(frames: list[Frame], number: int) -> bytes:
    return b"".join(payload for kind, _, of, payload in frames if (kind, of) == (DATA, number))


class Methods:
    """Calls that echo, never end, answer with more than was asked, or take many messages."""

    def __init__(self) -> None:
        self.cancelled: list[int] = []
        self.waiting = asyncio.Event()

    async def echo(self, stream: Stream) -> None:
        stream.answer(stream.message.content)

    async def hang(self, stream: Stream) -> None:
        try:
            await self.waiting.wait()
            stream.answer(b"late")
        except asyncio.CancelledError:
            self.cancelled.append(stream.number)
            raise

    async def each(self, stream: Stream) -> None:
        async for one in stream.messages():
            await stream.send(one.content * 3)
        stream.end(Code.OK)

    def all(self) -> dict[str, Method]:
        return {
            "/s/Echo": Method(self.echo, False),
            "/s/Hang": Method(self.hang, False),
            "/s/Each": Method(self.each, True),
        }


def run(test: Callable[[Methods], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        return await test(Methods())

    return asyncio.run(inside())


def test_a_call_is_answered_and_ends_with_its_status() -> None:
    async def check(methods: Methods) -> None:
        wire = Wire(methods.all()).greet()
        assert (await wire.settle())[0][0] == SETTINGS
        for number in (1, 3, 5):
            wire.send(ask(number))
        frames = await wire.settle()
        assert [content(frames, number) for number in (1, 3, 5)] == [message(b"hello")] * 3
        assert ended(frames, 5) == {"grpc-status": "0"}
        assert not wire.connection.busy

    run(check)


def test_it_comes_in_any_pieces() -> None:
    async def check(methods: Methods) -> None:
        block = headers()
        head = frame(HEADERS, 8 | 32, 1, b"\3" + b"\0\0\0\0\7" + block[:9] + b"pad") + frame(CONTINUATION, 0, 1, block[9:20])
        body = message(b"x" * 300)
        parts = [
            frame(DATA, 8, 1, b"\2" + body[:2] + b"pp"),
            frame(DATA, 0, 1, body[2:100]),
            frame(DATA, END, 1, body[100:]),
        ]
        whole = head + frame(CONTINUATION, WHOLE, 1, block[20:]) + frame(99, 255, 1, b"unknown") + b"".join(parts)
        wire = Wire(methods.all()).greet()
        for at in range(len(whole)):
            wire.connection.data_received(whole[at : at + 1])
        assert content(await wire.settle(), 1) == body

    run(check)


@pytest.mark.parametrize("first", [0, 1, 7, 100, 65_535])
def test_no_more_is_sent_than_the_other_side_has_room_for(first: int) -> None:
    async def check(methods: Methods) -> None:
        wire = Wire(methods.all()).greet(struct.pack(">HI", 4, first))
        asked = b"y" * 70_000
        wire.send(frame(HEADERS, WHOLE, 1, headers()), frame(DATA, 0, 1, message(asked)[:60_000]))
        wire.send(frame(DATA, END, 1, message(asked)[60_000:]))
        room, altogether, found = first, 65_535, b""
        draw = random.Random(first)
        while len(found) < len(asked) + 5:
            frames = await wire.settle()
            came = content(frames, 1)
            found += came
            room, altogether = room - len(came), altogether - len(came)
            assert room >= 0
            assert altogether >= 0
            more, all_of_it = draw.randrange(1, 9_000), draw.randrange(1, 9_000)
            wire.send(frame(WINDOW, 0, 1, struct.pack(">I", more)), frame(WINDOW, 0, 0, struct.pack(">I", all_of_it)))
            room, altogether = room + more, altogether + all_of_it
        assert found == message(asked)
        assert ended([*frames, *await wire.settle()], 1)["grpc-status"] == "0"

    run(check)


def test_a_window_made_smaller_counts_what_is_under_way() -> None:
    async def check(methods: Methods) -> None:
        wire = Wire(methods.all()).greet(struct.pack(">HI", 4, 10))
        wire.send(ask(1, b"z" * 95))
        assert len(content(await wire.settle(), 1)) == 10
        wire.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)), frame(WINDOW, 0, 1, struct.pack(">I", 9)))
        assert content(await wire.settle(), 1) == b""
        wire.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 91)))
        assert len(content(await wire.settle(), 1)) == 90

    run(check)


def test_streams_take_and_give_many_messages() -> None:
    async def check(methods: Methods) -> None:
        wire = Wire(methods.all()).greet()
        wire.send(frame(HEADERS, WHOLE, 1, headers("/s/Each")))
        whole, found = b"".join(message(bytes([65 + at]) * 9_000) for at in range(9)), b""
        for at in range(0, len(whole), 5_000):
            wire.send(frame(DATA, 0, 1, whole[at : at + 5_000]))
            found += content(await wire.settle(), 1)
            wide = struct.pack(">I", 30_000)
            wire.send(frame(WINDOW, 0, 1, wide), frame(WINDOW, 0, 0, wide))
        wire.send(frame(DATA, END, 1))
        frames = await wire.settle()
        assert found + content(frames, 1) == b"".join(message(bytes([65 + at]) * 27_000) for at in range(9))
        assert ended(frames, 1) == {"grpc-status": "0"}

    run(check)


REFUSED: dict[str, tuple[bytes, dict[str, str]]] = {
    "no such method": (ask(1, path="/s/None"), {"grpc-status": "12", "grpc-message": "there is no method /s/None"}),
    "a web page": (frame(HEADERS, 5, 1, headers(content_type="text/html")), {":status": "415"}),
    "a wrong deadline": (ask(1, grpc_timeout="soon"), {"grpc-status": "3"}),
    "no message": (frame(HEADERS, 5, 1, headers()), {"grpc-status": "13"}),
    "half a message": (frame(HEADERS, 4, 1, headers()) + frame(DATA, 1, 1, message(b"ab")[:-1]), {"grpc-status": "13"}),
    "two messages": (frame(HEADERS, 4, 1, headers()) + frame(DATA, 1, 1, message(b"ab") * 2), {"grpc-status": "13"}),
    "too long": (frame(HEADERS, 4, 1, headers()) + frame(DATA, 1, 1, b"\0\1\0\0\0"), {"grpc-status": "8"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_call_is_refused_by_itself(name: str) -> None:
    sent, says = REFUSED[name]

    async def check(methods: Methods) -> None:
        wire = Wire(methods.all()).greet()
        wire.send(sent)
        found = ended(await wire.settle(), 1)
        assert {key: found.get(key) for key in says} == says
        wire.send(ask(3))
        assert content(await wire.settle(), 3) == message(b"hello")

    run(check)


def test_who_waits_no_longer_is_not_worked_for() -> None:
    async def check(methods: Methods) -> None:
        wire = Wire(methods.all()).greet()
        wire.send(ask(1, path="/s/Hang"), ask(3, path="/s/Hang", grpc_timeout="1n"), ask(5, path="/s/Hang"))
        frames = await wire.settle()
        wire.send(frame(RESET, 0, 1, struct.pack(">I", 8)))
        while len(methods.cancelled) < 2:
            await asyncio.sleep(0.001)
        wire.connection.finish()
        assert not wire.closed
        wire.send(ask(7))
        frames += await wire.settle()
        assert (RESET, 0, 7, struct.pack(">I", 7)) in frames
        methods.waiting.set()
        frames += await wire.settle()
        assert sorted(methods.cancelled) == [1, 3]
        assert ended(frames, 3)["grpc-status"] == "4"
        assert content(frames, 5) == message(b"late")
        assert wire.closed

    run(check)


BREAKING: dict[str, tuple[bytes, int]] = {
    "no settings first": (ask(1), 1),
    "too large a frame": (frame(SETTINGS, 0, 0) + b"\1\0\1\0\0\0\0\0\1", 6),
    "headers that are none": (frame(SETTINGS, 0, 0) + frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"), 9),
    "data of no stream": (frame(SETTINGS, 0, 0) + frame(DATA, 0, 9, b"x"), 1),
    "an even stream": (frame(SETTINGS, 0, 0) + frame(HEADERS, 5, 2, headers()), 1),
    "a push": (frame(SETTINGS, 0, 0) + frame(PUSH, 4, 1, b"\0\0\0\2"), 1),
    "a window of nothing": (frame(SETTINGS, 0, 0) + frame(WINDOW, 0, 0, bytes(4)), 1),
    "a window beyond all": (frame(SETTINGS, 0, 0) + frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff"), 3),
    "half a setting": (frame(SETTINGS, 0, 0, b"abc"), 6),
    "headers without end": (
        frame(SETTINGS, 0, 0) + frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, bytes(9_000)) * 3,
        11,
    ),
    "calls that are all taken back": (
        frame(SETTINGS, 0, 0)
        + b"".join(frame(HEADERS, WHOLE, at, headers()) + frame(RESET, 0, at, bytes(4)) for at in range(1, 3_000, 2)),
        11,
    ),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_connection_that_goes_wrong_ends_with_the_reason(name: str) -> None:
    sent, code = BREAKING[name]

    async def check(methods: Methods) -> None:
        wire = Wire(methods.all())
        wire.connection.data_received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + sent)
        kind, _, _, payload = (await wire.settle())[-1]
        assert (kind, struct.unpack(">I", payload[4:])[0], wire.closed) == (GOAWAY, code, True)
        assert not wire.those

    run(check)


def test_one_connection_holds_so_much_and_no_more() -> None:
    async def check(methods: Methods) -> None:
        wire = Wire(methods.all(), longest=1_000_000).greet()
        begun = message(bytes(900_000))[:900_000]
        for number in range(1, 41, 2):
            wire.send(frame(HEADERS, WHOLE, number, headers()))
            for at in range(0, len(begun), 60_000):
                wire.send(frame(DATA, 0, number, begun[at : at + 60_000]))
        frames = await wire.settle()
        refused = [number for kind, _, number, _ in frames if kind == HEADERS]
        assert len(refused) > 10
        assert {ended(frames, number)["grpc-status"] for number in refused} == {"8"}
        for number in range(41, 4_041, 2):
            wire.send(ask(number, path="/s/Hang"))
        frames = await wire.settle()
        assert sum(kind == RESET for kind, *_ in frames) >= 1_000  # more at a time are refused
        methods.waiting.set()
        await wire.settle()

    run(check)


def test_who_leaves_things_lying_is_swept_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(methods: Methods) -> None:
        silent = Wire(methods.all())
        stuck = Wire(methods.all()).greet(struct.pack(">HI", 4, 0))
        stuck.send(ask(1), frame(HEADERS, WHOLE, 3, headers()), ask(5, path="/s/Hang"))
        unread = Wire(methods.all()).greet()
        unread.connection.pause_writing()
        assert not unread.reading
        await stuck.settle()
        for wire in (silent, stuck, unread):
            wire.connection.sweep()
        assert not any(wire.closed for wire in (silent, stuck, unread))
        for name in ("_GREETING_S", "_MESSAGE_S", "_UNREAD_S"):
            monkeypatch.setattr(_connection, name, -1.0)
        for wire in (silent, stuck, unread):
            wire.connection.sweep()
        frames = await stuck.settle()
        assert (silent.closed, stuck.closed, unread.closed) == (True, False, True)
        assert ended(frames, 3)["grpc-status"] == "4"
        assert (RESET, 0, 1, struct.pack(">I", 8)) in frames
        assert stuck.connection.busy  # what is worked on goes on
        stuck.close()

    run(check)


def test_more_connections_than_there_may_be_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(methods: Methods) -> None:
        those = set[Connection]()
        monkeypatch.setattr(_connection, "_CONNECTIONS", 2)
        wires = [Wire(methods.all(), those=those) for _ in range(3)]
        assert [wire.closed for wire in wires] == [False, False, True]
        assert len(those) == 2
        wires[0].close()
        assert not Wire(methods.all(), those=those).closed

    run(check)


def test_packed_messages_say_so() -> None:
    async def check(methods: Methods) -> None:
        seen: list[Any] = []

        async def look(stream: Stream) -> None:
            seen.append(stream.message)
            stream.answer(b"")

        wire = Wire({"/s/Look": Method(look, False)}).greet()
        packed = gzip.compress(b"hello")
        wire.send(frame(HEADERS, WHOLE, 1, headers("/s/Look")), frame(DATA, END, 1, message(packed, 1)))
        await wire.settle()
        assert seen == [(True, packed)]

    run(check)


FRAMES = st.tuples(
    st.integers(0, 11),
    st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 32, 37, 45, 255]),
    st.sampled_from([0, 1, 1, 3, 3, 5, 2, 2**31 - 1, 2**32 - 1]),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [headers(), headers("/s/Each"), headers("/s/Hang"), message(b"abc"), bytes(4), b"\0\0\0\1", bytes(8)]
        ),
    ),
)


@settings(max_examples=200 * SOAK, deadline=None)
@given(st.lists(FRAMES, max_size=25), st.integers(1, 50), st.booleans())
def test_frames_of_all_kinds_break_nothing(frames: list[Frame], piece: int, greet: bool) -> None:
    async def check(methods: Methods) -> None:
        wire = Wire(methods.all())
        if greet:
            wire.greet()
        whole = b"".join(frame(*each) for each in frames)
        for at in range(0, len(whole), piece):
            if not wire.closed:
                wire.connection.data_received(whole[at : at + piece])
        await wire.settle()
        wire.connection.sweep()
        if not wire.closed:
            wire.close()
        await wire.settle()
        held: Any = wire.connection
        assert (held._streams, held._holding, wire.those) == ({}, 0, set())
        wire = Wire(methods.all()).greet()  # nothing of it is left for others
        wire.send(ask(1))
        assert content(await wire.settle(), 1) == message(b"hello")

    run(check)
