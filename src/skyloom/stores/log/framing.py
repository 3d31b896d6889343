"""A batch as it is stored in every log: a header (version, flags, count, time of appending), then the payload."""

import struct

from skyloom.kernel.errors import DataError, UsageError
from skyloom.ports.log import MAX_ROWS, LogBatch, NewBatch

HEADER = struct.Struct(">BBIq")
_VERSION = 1
_IMPORTED = 1
_PARTED = "events/"


def framed(batch: NewBatch) -> bytes:
    """A batch as bytes. Raises `DataError` for a number of rows that no log takes.

    >>> unframed(4, framed(NewBatch(3, 1_000, True, b"rows")))
    LogBatch(first=4, count=3, appended_ms=1000, imported=True, payload=b'rows', after=None)
    """
    if not 0 < batch.count <= MAX_ROWS:
        raise DataError(f"a batch of {batch.count} rows cannot be appended", fix=f"append 1 to {MAX_ROWS} rows at a time")
    return HEADER.pack(_VERSION, _IMPORTED * batch.imported, batch.count, batch.appended_ms) + batch.payload


def unframed(first: int, stored: bytes, after: int | None = None) -> LogBatch:
    """The batch whose first row has the offset ``first``. Raises `DataError` for bytes that are none of ours."""
    if len(stored) < HEADER.size or stored[0] != _VERSION:
        version = f"of format {stored[0]}" if stored else "without content"
        raise DataError(f"a batch {version} in the log", fix="read it with the version of skyloom that wrote it")
    _, flags, count, appended_ms = HEADER.unpack_from(stored)
    return LogBatch(first, count, appended_ms, bool(flags & _IMPORTED), stored[HEADER.size :], after)


def made_with(topic: str, partitions: int) -> int:
    """How many partitions a new topic gets in a log that parts events into ``partitions``: all others have one.

    >>> made_with("events/arrivals", 4), made_with("quarantine/arrivals", 4)
    (4, 1)
    """
    return partitions if topic.startswith(_PARTED) else 1


def check_count(partitions: int) -> None:
    """Raises `UsageError` for a number of partitions that no topic can have."""
    if not 0 < partitions < 1 << 31:
        raise UsageError(f"no topic has {partitions} partitions", fix="give at least 1")


def check_topic(topic: str, partition: int, partitions: int) -> None:
    """Raises `UsageError` for a partition that is not there."""
    if not 0 <= partition < partitions:
        raise UsageError(
            f"{topic} has no partition {partition}", tried=f"{partitions} partitions", fix="name one of these, from 0"
        )
