"""Bodies that are sent packed (``Content-Encoding``), and answers that may be (``Accept-Encoding``)."""

import gzip
import zlib

from skyloom.serving.wire import Problem, Reply

SMALLEST = 1_024
"""Answers of fewer bytes are not worth packing."""

_ANY_HEAD = 47  # zlib.h: 15 + 32, a window of 32 KiB behind a head of gzip or of zlib


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before it was packed by ``encoding`` (gzip, or deflate: with or without the head of zlib).

    Raises `Problem`: 415 for another encoding, 413 when it would have more than ``limit`` bytes, 400 when it is damaged.

    >>> unpack(zlib.compress(b"{}"), "deflate", 10)
    b'{}'
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        raise Problem(415, f"bodies may be packed by gzip or deflate, not by {name}")
    try:
        return _unpacked(body, _ANY_HEAD, limit)
    except zlib.error as error:
        if name != "deflate":
            raise Problem(400, f"the body is not what {name} makes: {error}") from error
    try:
        return _unpacked(body, -zlib.MAX_WBITS, limit)
    except zlib.error as error:
        raise Problem(400, f"the body is not what {name} makes: {error}") from error


def _unpacked(body: bytes, window: int, limit: int) -> bytes:
    unpacking = zlib.decompressobj(window)
    done = unpacking.decompress(body, limit + 1)
    if len(done) > limit:
        raise Problem(413, f"the unpacked body is longer than {limit:,} bytes")
    if not unpacking.eof:
        raise Problem(400, "the packed body breaks off")
    if unpacking.unused_data:
        raise Problem(400, "something stands behind the packed body")
    return done


def packed(answer: Reply, accepted: str) -> Reply:
    """The answer, packed as the caller accepts it (the header ``Accept-Encoding``), when it is long enough to gain by it."""
    if not accepted or len(answer.body) < SMALLEST or answer.status != 200:
        return answer
    wanted = [word.partition(";") for word in accepted.lower().split(",")]
    names = [name.strip() for name, _, quality in wanted if quality.replace(" ", "") not in ("q=0", "q=0.0")]
    if "gzip" in names:
        body, encoding = gzip.compress(answer.body, 1, mtime=0), "gzip"
    elif "deflate" in names:
        body, encoding = zlib.compress(answer.body, 1), "deflate"
    else:
        return answer
    return answer._replace(body=body, headers=(*answer.headers, ("content-encoding", encoding)))
