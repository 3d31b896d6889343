"""Frames of HTTP/2 (RFC 9113, section 4 and 6), and what may be wrong with them."""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct(">BHBBI")
"""Of a frame: its length in 8 and 16 bits, its kind, its flags, its stream."""
SETTING = struct.Struct(">HI")
NUMBER = struct.Struct(">I")
MOST = 2**31 - 1
"""Of windows, and of numbers of streams."""
FIRST_WINDOW, FIRST_FRAME = 65_535, 16_384
"""What both sides may send before either has said anything else."""


class Kind:
    """What a frame is: plain numbers, which cost less to compare than members of an enumeration."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """Flags of frames, likewise; an acknowledgement has the bit of an end."""

    END_STREAM = 1
    ACK = 1
    END_HEADERS = 4
    PADDED = 8
    PRIORITY = 32


class Setting(IntEnum):
    """What sides tell each other of themselves."""

    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Wrong(IntEnum):
    """Why a stream or a connection ends (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Broken(Exception):
    """The connection cannot go on."""

    def __init__(self, code: Wrong) -> None:
        super().__init__(code.name)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of at most 2^24 - 1 bytes.

    >>> frame(Kind.PING, Flag.ACK, 0, b"12345678").hex()
    '0000080601000000003132333435363738'
    """
    size = len(payload)
    return HEAD.pack(size >> 16, size & 65_535, kind, flags, stream) + payload


def setting(name: Setting, value: int) -> bytes:
    """A setting, as frames of settings hold it."""
    return SETTING.pack(name, value)


def settings_of(payload: bytes) -> dict[int, int]:
    """The settings that a frame holds. Raises `Broken` for values that may not be."""
    if len(payload) % SETTING.size:
        raise Broken(Wrong.FRAME_SIZE_ERROR)
    told: dict[int, int] = dict(SETTING.iter_unpack(payload))
    if told.get(Setting.INITIAL_WINDOW_SIZE, 0) > MOST:
        raise Broken(Wrong.FLOW_CONTROL_ERROR)
    frames = told.get(Setting.MAX_FRAME_SIZE, FIRST_FRAME)
    if not FIRST_FRAME <= frames < 1 << 24 or told.get(Setting.ENABLE_PUSH, 0) > 1:
        raise Broken(Wrong.PROTOCOL_ERROR)
    return told


def reset(stream: int, code: Wrong) -> bytes:
    """The frame that ends a stream at once."""
    return frame(Kind.RST_STREAM, 0, stream, NUMBER.pack(code))


def widened(stream: int, by: int) -> bytes:
    """The frame that lets the other side send so many bytes more, in a stream or (0) altogether."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, NUMBER.pack(by))


def goaway(last: int, code: Wrong) -> bytes:
    """The frame behind which no stream above ``last`` is answered."""
    return frame(Kind.GOAWAY, 0, 0, NUMBER.pack(last) + NUMBER.pack(code))


def unpadded(payload: bytes, flags: int) -> bytes:
    """What a frame holds but for its padding; `Broken` when that is longer than the frame."""
    if not flags & Flag.PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Broken(Wrong.PROTOCOL_ERROR)
    return payload[1 : len(payload) - payload[0]]
