"""Header blocks of HTTP/2 (HPACK, RFC 7541): read with their dynamic table, written without one."""

from skyloom.serving.grpc.huffman import unhuffed

_STATIC = """:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate"""
_OVERHEAD = 32
_LARGEST = 1 << 24

Field = tuple[bytes, bytes]


class HpackError(Exception):
    """A block that is none, or that says more than is read."""


def _static() -> tuple[Field, ...]:
    pairs = [line.encode().partition(b" ") for line in _STATIC.splitlines()]
    return tuple((name, value) for name, _, value in pairs)


STATIC = _static()
"""The table that every block may refer to, from 1 on (appendix A)."""


class Decoder:
    """Reads the blocks of one connection, in their order. ``generation`` rises whenever the table changes: in between, equal
    blocks say the same.

    >>> decoder = Decoder(4_096, 16_384)
    >>> decoder.decode(bytes.fromhex("828684410f7777772e6578616d706c652e636f6d"))[3]
    (b':authority', b'www.example.com')
    >>> decoder.decode(bytes.fromhex("be"))
    [(b':authority', b'www.example.com')]
    """

    def __init__(self, table_bytes: int, list_bytes: int) -> None:
        """``table_bytes`` is what was announced to the other side, ``list_bytes`` the most that a block may say."""
        self._allowed = self._limit = table_bytes
        self._longest = list_bytes
        self._table: list[Field] = []  # the newest is the last
        self._size = 0
        self.generation = 0

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a block. Raises `HpackError`; the connection cannot go on then."""
        try:
            return self._decoded(block)
        except IndexError as error:
            raise HpackError("a header block breaks off") from error

    def _decoded(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        at, said, end = 0, 0, len(block)
        while at < end:
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                field = self._field(index)
            elif first & 0x40:
                field, at = self._literal(block, at, 6)
                self._add(field)
            elif first & 0x20:
                if fields:
                    raise HpackError("the table changes its size inside a header block")
                size, at = _integer(block, at, 5)
                self._resize(size)
                continue
            else:
                field, at = self._literal(block, at, 4)
            said += len(field[0]) + len(field[1]) + _OVERHEAD
            if said > self._longest:
                raise HpackError(f"the headers are longer than {self._longest:,} bytes")
            fields.append(field)
        return fields

    def _field(self, index: int) -> Field:
        if 0 < index <= len(STATIC):
            return STATIC[index - 1]
        place = index - len(STATIC)
        if not 0 < place <= len(self._table):
            raise HpackError(f"there is no header {index} in the table")
        return self._table[-place]

    def _literal(self, block: bytes, at: int, bits: int) -> tuple[Field, int]:
        index, at = _integer(block, at, bits)
        if index:
            name = self._field(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _add(self, field: Field) -> None:
        self.generation += 1
        self._table.append(field)
        self._size += len(field[0]) + len(field[1]) + _OVERHEAD
        self._evict()

    def _resize(self, size: int) -> None:
        if size > self._allowed:
            raise HpackError(f"the table may have {self._allowed:,} bytes, not {size:,}")
        self.generation += 1
        self._limit = size
        self._evict()

    def _evict(self) -> None:
        gone = 0
        while self._size > self._limit:
            name, value = self._table[gone]
            self._size -= len(name) + len(value) + _OVERHEAD
            gone += 1
        del self._table[:gone]


def literal(name: str, value: str) -> bytes:
    """A field that no table has to remember.

    >>> literal("a", "b")
    b'\\x00\\x01a\\x01b'
    """
    return b"\0" + _text(name.encode()) + _text(value.encode())


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, more = len(text) - 127, bytearray((127,))
    while rest >= 128:
        more.append(rest % 128 + 128)
        rest //= 128
    more.append(rest)
    return bytes(more) + text


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value, at = block[at] & most, at + 1
    if value < most:
        return value, at
    shift = 0
    while True:
        byte, at = block[at], at + 1
        value += (byte & 127) << shift
        if value > _LARGEST:
            raise HpackError("a number in a header block is too large")
        if byte < 128:
            return value, at
        shift += 7
        if shift > 28:
            raise HpackError("a number in a header block is too long")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    packed = block[at] & 128
    length, at = _integer(block, at, 7)
    text, at = block[at : at + length], at + length
    if len(text) < length:
        raise HpackError("a header block breaks off")
    if packed:
        found = unhuffed(text)
        if found is None:
            raise HpackError("a text in a header block is no Huffman code")
        return found, at
    return text, at
