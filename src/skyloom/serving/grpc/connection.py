"""One connection of HTTP/2 (RFC 9113) that carries calls of gRPC, in the event loop.

What is not here: TLS (asyncio's), priorities (ignored, as the RFC allows) and pushes. A client may hold up nobody but
itself: what it may leave unfinished, cancel and not take is bounded.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

from skyloom.serving.grpc.frames import (
    HEAD,
    MOST,
    NUMBER,
    PREFACE,
    Broken,
    Flag,
    Kind,
    Setting,
    Wrong,
    frame,
    goaway,
    reset,
    setting,
    settings_of,
    unpadded,
    widened,
)
from skyloom.serving.grpc.hpack import Decoder, HpackError
from skyloom.serving.grpc.outgoing import Outgoing
from skyloom.serving.grpc.requests import head_of
from skyloom.serving.grpc.status import Code
from skyloom.serving.grpc.stream import PREFIX, Head, Message, Method, Stream

_CONNECTIONS, _STREAMS = 16_384, 1_000
_FRAME = 65_536
_TABLE, _HEADERS = 4_096, 16_384
_HEADS = 64
_HELD = 4
"""Unfinished messages of one connection hold so many times the longest one at most."""
_REFILL = 1 << 20
_CANCELS, _CANCELS_A_SECOND = 1_000.0, 200.0
"""So many calls may be cancelled at once, and so many each second: opening and cancelling costs a client nothing."""
_GREETING_S, _MESSAGE_S, _UNREAD_S = 10.0, 60.0, 60.0
_KEEPALIVE_S = 60
_BUFFER = 1 << 20
_MESSAGE = struct.Struct(">BI")


class Connection(asyncio.Protocol):
    """Answers the calls of one connection by ``methods`` (by their paths). ``longest`` is the most bytes of a message;
    ``those`` are all connections, which it is one of while it lasts."""

    def __init__(self, methods: Mapping[str, Method], longest: int, those: "set[Connection]") -> None:
        self._methods, self._longest, self._those = methods, longest, those
        self._first_room = min(longest + _REFILL, MOST)
        self._decoder = Decoder(_TABLE, _HEADERS)
        self._heads: dict[bytes, Head] = {}
        self._generation = 0
        self._streams: dict[int, Stream] = {}
        self._block: tuple[int, int, bytearray] | None = None
        self._held = b""
        self._greeted = self._settled = self._leaving = False
        self._last = self._received = self._holding = 0
        self._cancels = _CANCELS

    def connection_made(self, transport: Any) -> None:
        self._transport: Any = transport
        self._loop = asyncio.get_running_loop()
        self._since = self._cancelled = self._loop.time()
        self._out = Outgoing(transport, self._close)
        if len(self._those) >= _CONNECTIONS:
            transport.abort()
            return
        self._those.add(self)
        if (plain := transport.get_extra_info("socket")) is not None:
            _keep_alive(plain)
        transport.set_write_buffer_limits(_BUFFER)
        told = setting(Setting.MAX_CONCURRENT_STREAMS, _STREAMS) + setting(Setting.MAX_FRAME_SIZE, _FRAME)
        told += setting(Setting.INITIAL_WINDOW_SIZE, self._first_room) + setting(Setting.MAX_HEADER_LIST_SIZE, _HEADERS)
        self._out.say(frame(Kind.SETTINGS, 0, 0, told) + widened(0, MOST - 65_535))

    def connection_lost(self, exc: Exception | None) -> None:
        self._those.discard(self)
        self._drop_all()

    def pause_writing(self) -> None:
        self._out.paused_since = self._loop.time()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._out.paused_since = None
        self._transport.resume_reading()
        self._out.pump()

    def data_received(self, data: bytes) -> None:
        held = self._held + data if self._held else data
        try:
            at = self._read(held)
        except Broken as broken:
            self._break(broken.code)
            return
        self._held = held[at:] if at < len(held) else b""

    @property
    def busy(self) -> bool:
        """Whether calls are under way, or answers."""
        return bool(self._streams) or self._transport.get_write_buffer_size() > 0

    def announce_end(self) -> None:
        """Say that it will end, while what is on its way is still answered: clients go elsewhere."""
        self._out.say(goaway(MOST, Wrong.NO_ERROR))

    def finish(self) -> None:
        """Answer no new calls, and end once those under way are answered."""
        self._leaving = True
        self._out.say(goaway(self._last, Wrong.NO_ERROR))
        self._end_if_done()

    def abort(self) -> None:
        """End at once."""
        self._out.flush()
        self._transport.abort()

    def sweep(self) -> None:
        """End what the other side leaves lying: to be called every few seconds."""
        now, paused = self._loop.time(), self._out.paused_since
        silent = not self._settled and now - self._since > _GREETING_S
        if silent or (paused is not None and now - paused > _UNREAD_S):
            self._transport.abort()
            return
        for stream in [each for each in self._streams.values() if each.task is None and now - each.came > _MESSAGE_S]:
            self._out.end(stream, Code.DEADLINE_EXCEEDED, f"the message did not come within {_MESSAGE_S:g} s")
        for stream in self._out.stuck(now - _UNREAD_S):
            self._refuse(stream.number, Wrong.CANCEL)

    def _read(self, data: bytes) -> int:
        """Take the whole frames of what came; where the rest begins."""
        at, end = 0, len(data)
        if not self._greeted:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise Broken(Wrong.PROTOCOL_ERROR)
            if end < len(PREFACE):
                return 0
            self._greeted, at = True, len(PREFACE)
        while at + 9 <= end:
            high, low, kind, flags, number = HEAD.unpack_from(data, at)
            length, number = high << 16 | low, number & MOST
            if length > _FRAME:
                raise Broken(Wrong.FRAME_SIZE_ERROR)
            stop = at + 9 + length
            if stop > end:
                break
            self._take(kind, flags, number, data[at + 9 : stop])
            at = stop
        return at

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and kind != Kind.CONTINUATION:
            raise Broken(Wrong.PROTOCOL_ERROR)
        if kind == 0:
            self._data(number, flags, payload)
        elif kind == 1:
            self._headers(number, flags, payload)
        elif not self._settled and kind != Kind.SETTINGS:
            raise Broken(Wrong.PROTOCOL_ERROR)
        elif kind == Kind.WINDOW_UPDATE:
            self._widened(number, payload)
        elif kind == Kind.SETTINGS:
            self._settings(number, flags, payload)
        elif kind == Kind.PING:
            self._ping(number, flags, payload)
        elif kind == Kind.RST_STREAM:
            self._reset(number, payload)
        elif kind == Kind.CONTINUATION:
            self._continued(number, flags, payload)
        elif kind == Kind.PRIORITY:
            self._priority(number, payload)
        elif kind == Kind.PUSH_PROMISE or (kind == Kind.GOAWAY and number):
            raise Broken(Wrong.PROTOCOL_ERROR)

    def _data(self, number: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        self._received += size
        if self._received > _REFILL:
            self._out.say(widened(0, self._received))
            self._received = 0
        stream = self._streams.get(number)
        if stream is None:
            if not self._settled or number > self._last or not number:
                raise Broken(Wrong.PROTOCOL_ERROR)
            return
        stream.room -= size
        if stream.heard or stream.room < 0:
            self._refuse(number, Wrong.STREAM_CLOSED if stream.heard else Wrong.FLOW_CONTROL_ERROR)
            return
        if flags & Flag.PADDED:
            payload = unpadded(payload, flags)
        stream.heard = bool(flags & 1)
        if stream.head.method is not None and stream.head.method.streams:
            self._messages(stream, payload)
        elif stream.heard:
            self._whole(stream, bytes(stream.buffer + payload) if stream.buffer else payload)
        elif self._keep(stream, payload) and len(stream.buffer) > self._longest + PREFIX:
            self._too_long(stream)

    def _whole(self, stream: Stream, data: bytes) -> None:
        """A call with one message has all of it."""
        if len(data) < PREFIX:
            self._out.end(stream, Code.INTERNAL, "the call brought no message")
            return
        packed, size = _MESSAGE.unpack_from(data)
        if size > self._longest:
            self._too_long(stream)
        elif size != len(data) - PREFIX or packed > 1:
            self._out.end(stream, Code.INTERNAL, "the call brought something else than one message")
        else:
            self._release(stream)
            stream.message = Message(packed == 1, data[PREFIX:])
            self._begin(stream)

    def _messages(self, stream: Stream, payload: bytes) -> None:
        """A call with many messages has more of them."""
        if not self._keep(stream, payload):
            return
        buffer, at = stream.buffer, 0
        while at + PREFIX <= len(buffer):
            packed, size = _MESSAGE.unpack_from(buffer, at)
            if size > self._longest:
                self._too_long(stream)
                return
            if at + PREFIX + size > len(buffer):
                break
            stream.push(Message(packed == 1, bytes(buffer[at + PREFIX : at + PREFIX + size])))
            at += PREFIX + size
        del buffer[:at]
        self._holding -= at
        stream.came_in()

    def _keep(self, stream: Stream, payload: bytes) -> bool:
        """Hold a part of a message until the rest is there, if there is room."""
        if self._holding + len(payload) > _HELD * self._longest + _REFILL:
            self._fail(stream, Code.RESOURCE_EXHAUSTED, "this connection has too many messages that are not whole")
            return False
        stream.buffer += payload
        self._holding += len(payload)
        return True

    def _too_long(self, stream: Stream) -> None:
        self._fail(stream, Code.RESOURCE_EXHAUSTED, f"the message is longer than {self._longest:,} bytes")

    def _fail(self, stream: Stream, code: Code, why: str) -> None:
        """End a call in the place of what handles it."""
        task = stream.task
        self._out.end(stream, code, why)
        if task is not None:
            task.cancel()

    def _release(self, stream: Stream) -> None:
        self._holding -= len(stream.buffer)
        stream.buffer = bytearray()

    def _begin(self, stream: Stream) -> None:
        head = stream.head
        assert head.method is not None
        stream.task = self._loop.create_task(head.method.handle(stream))

    def _headers(self, number: int, flags: int, payload: bytes) -> None:
        if not self._settled or not number & 1:
            raise Broken(Wrong.PROTOCOL_ERROR)
        if flags & (Flag.PADDED | Flag.PRIORITY):
            payload = unpadded(payload, flags)
            if flags & Flag.PRIORITY:
                if len(payload) < 5:
                    raise Broken(Wrong.FRAME_SIZE_ERROR)
                if NUMBER.unpack_from(payload)[0] & MOST == number:
                    raise Broken(Wrong.PROTOCOL_ERROR)
                payload = payload[5:]
        if flags & Flag.END_HEADERS:
            self._head(number, flags, payload)
        else:
            self._block = number, flags, bytearray(payload)

    def _continued(self, number: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != number:
            raise Broken(Wrong.PROTOCOL_ERROR)
        self._block[2].extend(payload)
        if len(self._block[2]) > _HEADERS or (not payload and not flags & Flag.END_HEADERS):
            raise Broken(Wrong.ENHANCE_YOUR_CALM)
        if flags & Flag.END_HEADERS:
            _, begun, block = self._block
            self._block = None
            self._head(number, begun, bytes(block))

    def _head(self, number: int, flags: int, block: bytes) -> None:
        head = self._heads.get(block) or self._decoded(block)
        stream = self._streams.get(number)
        if stream is not None:
            self._trailers(stream, flags)
            return
        if number <= self._last:
            raise Broken(Wrong.STREAM_CLOSED)
        self._last = number
        if self._leaving or len(self._streams) >= _STREAMS:
            self._out.say(reset(number, Wrong.REFUSED_STREAM))
            return
        if head.wrong:
            self._out.say(reset(number, Wrong.PROTOCOL_ERROR))
            return
        stream = self._streams[number] = Stream(self._out, number, head, self._loop.time())
        stream.room, stream.window = self._first_room, self._out.first_window
        stream.heard = bool(flags & Flag.END_STREAM)
        if head.refusal or head.method is None:
            self._out.say(frame(Kind.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, number, head.refusal))
            self._close(stream)
            return
        if head.seconds is not None:
            stream.timer = self._loop.call_later(head.seconds, self._expire, stream)
        if head.method.streams:
            self._begin(stream)
        elif stream.heard:
            self._whole(stream, b"")

    def _decoded(self, block: bytes) -> Head:
        """A head; the same block says the same until the table changes."""
        try:
            head = head_of(self._decoder.decode(block), self._methods)
        except HpackError as error:
            raise Broken(Wrong.COMPRESSION_ERROR) from error
        if self._decoder.generation != self._generation or len(self._heads) >= _HEADS:
            self._generation = self._decoder.generation
            self._heads.clear()
        else:
            self._heads[block] = head
        return head

    def _trailers(self, stream: Stream, flags: int) -> None:
        """Headers behind the messages of a call: they end it."""
        if stream.heard or not flags & Flag.END_STREAM:
            self._refuse(stream.number, Wrong.STREAM_CLOSED if stream.heard else Wrong.PROTOCOL_ERROR)
            return
        self._data(stream.number, int(Flag.END_STREAM), b"")

    def _expire(self, stream: Stream) -> None:
        self._fail(stream, Code.DEADLINE_EXCEEDED, "the deadline has passed")

    def _widened(self, number: int, payload: bytes) -> None:
        if len(payload) != NUMBER.size:
            raise Broken(Wrong.FRAME_SIZE_ERROR)
        by = NUMBER.unpack(payload)[0] & MOST
        if not by or number > self._last:
            raise Broken(Wrong.PROTOCOL_ERROR)
        if not number:
            self._out.room(None, by)
        elif (stream := self._streams.get(number)) is not None:
            if stream.window + by > MOST:
                self._refuse(number, Wrong.FLOW_CONTROL_ERROR)
            else:
                self._out.room(stream, by)

    def _settings(self, number: int, flags: int, payload: bytes) -> None:
        if number:
            raise Broken(Wrong.PROTOCOL_ERROR)
        if flags & Flag.ACK:
            if payload:
                raise Broken(Wrong.FRAME_SIZE_ERROR)
            return
        told, self._settled = settings_of(payload), True
        first = told.get(Setting.INITIAL_WINDOW_SIZE)
        if first is not None:
            for stream in self._streams.values():
                stream.window += first - self._out.first_window
                if stream.window > MOST:
                    raise Broken(Wrong.FLOW_CONTROL_ERROR)
            self._out.first_window = first
        self._out.frame = min(told.get(Setting.MAX_FRAME_SIZE, self._out.frame), _FRAME)
        self._out.say(frame(Kind.SETTINGS, Flag.ACK, 0))
        self._out.pump()

    def _ping(self, number: int, flags: int, payload: bytes) -> None:
        if number:
            raise Broken(Wrong.PROTOCOL_ERROR)
        if len(payload) != 8:
            raise Broken(Wrong.FRAME_SIZE_ERROR)
        if not flags & Flag.ACK:
            self._out.say(frame(Kind.PING, Flag.ACK, 0, payload))

    def _priority(self, number: int, payload: bytes) -> None:
        if not number:
            raise Broken(Wrong.PROTOCOL_ERROR)
        if len(payload) != 5:
            self._refuse(number, Wrong.FRAME_SIZE_ERROR)
        elif NUMBER.unpack_from(payload)[0] & MOST == number:
            self._refuse(number, Wrong.PROTOCOL_ERROR)

    def _reset(self, number: int, payload: bytes) -> None:
        if len(payload) != NUMBER.size:
            raise Broken(Wrong.FRAME_SIZE_ERROR)
        if not number or number > self._last:
            raise Broken(Wrong.PROTOCOL_ERROR)
        stream = self._streams.get(number)
        if stream is None:
            return
        now = self._loop.time()
        self._cancels = min(self._cancels + (now - self._cancelled) * _CANCELS_A_SECOND, _CANCELS) - 1
        self._cancelled = now
        if self._cancels < 0:
            raise Broken(Wrong.ENHANCE_YOUR_CALM)
        self._drop(stream)
        self._end_if_done()

    def _refuse(self, number: int, code: Wrong) -> None:
        """End a stream that goes wrong."""
        self._out.say(reset(number, code))
        if (stream := self._streams.get(number)) is not None:
            self._drop(stream)
            self._end_if_done()

    def _close(self, stream: Stream) -> None:
        """A call was answered."""
        if self._streams.pop(stream.number, None) is None:
            return
        if stream.timer is not None:
            stream.timer.cancel()
        stream.closed = True
        if stream.buffer:
            self._release(stream)
        if not stream.heard:
            self._out.say(reset(stream.number, Wrong.NO_ERROR))
        if self._leaving:
            self._end_if_done()

    def _drop(self, stream: Stream) -> None:
        """Nobody waits for a call any more."""
        self._streams.pop(stream.number, None)
        stream.closed = True
        self._release(stream)
        if stream.timer is not None:
            stream.timer.cancel()
        if stream.task is not None:
            stream.task.cancel()
        self._out.forget(stream)

    def _drop_all(self) -> None:
        for stream in list(self._streams.values()):
            self._drop(stream)

    def _end_if_done(self) -> None:
        if self._leaving and not self._streams:
            self._out.flush()
            self._transport.close()

    def _break(self, code: Wrong) -> None:
        self._out.say(goaway(self._last, code))
        self._drop_all()
        self._out.flush()
        self._transport.close()


def _keep_alive(plain: socket.socket) -> None:
    """Let the kernel find out that the other side's machine is gone."""
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if (option := getattr(socket, name, None)) is not None:
            plain.setsockopt(socket.IPPROTO_TCP, option, _KEEPALIVE_S)
