"""The partitions of a source: each is a log of its own, and together they are the source's events.

Within a source an event has one number, its *offset in the source*: ``offset in the log * partitions + partition``. It is
its own within the source, rises within a partition, tells the partition, and is the log's own offset where there is one
partition. Positions are counted in it too: an event is before a position of its partition when its offset is smaller.

An event with the key ``k`` goes to partition ``hash(k) % partitions``, whichever way it comes in: its copies meet there. The
hash is the CRC-32 of `entity_key`, whose bits are then mixed by the finaliser of MurmurHash3 (``fmix32``), since ``%`` looks
at some of them only. It must never change: a copy of an event that lies in the log already would go elsewhere.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import msgspec

from skyloom.ingest.rows import Value, encode_rows
from skyloom.kernel.entity import entity_key
from skyloom.kernel.records.definitions import SourceDef
from skyloom.ports.log import MAX_ROWS, Log, NewBatch

if TYPE_CHECKING:  # who takes rows of JSON into one partition does not pay for these
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_WORD = 0xFFFFFFFF
_FIRST, _SECOND = 0x85EBCA6B, 0xC2B2AE35
_LONGEST = 499
"""Bytes of the longest text that `entity_key` does not shorten."""


class SourcePart(NamedTuple):
    """Partition number ``partition`` of the ``partitions`` that a source has.

    >>> import numpy as np
    >>> from skyloom.kernel.schema import Schema
    >>> third = SourcePart(SourceDef("cards", Schema((), "id", "at")), 2, 4)
    >>> third.place, third.position(10), third.in_log(40)
    ('cards/2', 40, 10)
    >>> third.holds(np.array([0, 2, 6, 7])).tolist()
    [False, True, True, False]
    """

    source: SourceDef
    partition: int = 0
    partitions: int = 1

    @property
    def place(self) -> str:
        """Its name in positions, in receipts and in the online store."""
        return place_of(self.source.name, self.partition, self.partitions)

    def position(self, log_offset: int) -> int:
        """The position in the source for an offset of the log."""
        return log_offset * self.partitions

    def in_log(self, position: int) -> int:
        """The offset of the log that a position stands for."""
        return position // self.partitions

    def holds(self, offsets: "npt.NDArray[np.int64]") -> "npt.NDArray[np.bool_]":
        """Which offsets in the source, shape [n], are of this partition."""
        return offsets % self.partitions == self.partition


def parts_of(source: SourceDef, partitions: int) -> list[SourcePart]:
    """Every partition of a source."""
    return [SourcePart(source, partition, partitions) for partition in range(partitions)]


def place_of(source: str, partition: int, partitions: int) -> str:
    """The name of a partition: the source's own where there is one.

    >>> place_of("cards", 0, 1), place_of("cards", 3, 4)
    ('cards', 'cards/3')
    """
    return source if partitions == 1 else f"{source}/{partition}"


def source_of(place: str) -> str:
    """The source of a key of ``as_of``, which may name a partition of it or a lookup in it.

    >>> source_of("cards"), source_of("cards/3"), source_of("cards/3@issuer")
    ('cards', 'cards', 'cards')
    """
    return place.partition("@")[0].partition("/")[0]


def number_of(place: str) -> int:
    """The number of the partition that a key of ``as_of`` names.

    >>> number_of("cards"), number_of("cards/3"), number_of("cards/3@issuer")
    (0, 3, 3)
    """
    return int(place.partition("@")[0].partition("/")[2] or 0)


def seen_of(as_of: Iterable[tuple[str, int]], source: str, lookup: str = "") -> dict[int, int]:
    """What a request saw of a source by partition, from the entries of its ``as_of``; of the lookup in it that is named."""
    return {
        number_of(place): position
        for place, position in as_of
        if source_of(place) == source and place.partition("@")[2] == lookup
    }


class Portion(msgspec.Struct, frozen=True):
    """The ``count`` rows that go to one partition together, encoded as they lie in the log."""

    partition: int
    count: int
    payload: bytes


class Span(msgspec.Struct, frozen=True):
    """Rows that were appended to a partition: its offsets in the log from ``start`` on, and below ``end``."""

    partition: int
    start: int
    end: int


class Appender:
    """Appends portions to a source's topic, and knows where they lie. To be used by one thread."""

    def __init__(self, log: Log, source: SourceDef) -> None:
        self._log, self._topic = log, f"events/{source.name}"
        self.partitions = log.partitions(self._topic)
        self._spans: dict[int, Span] = {}

    def append(self, portions: Iterable[Portion], now_ms: int, *, imported: bool) -> dict[int, list[Span]]:
        """Append each durably, those of a partition in order and at once; where each lies, by partition.

        Raises `Transient`, and then some partitions may have theirs: when all is appended again, they are known by the keys.
        """
        parted: dict[int, list[NewBatch]] = {}
        for each in portions:
            parted.setdefault(each.partition, []).append(NewBatch(each.count, now_ms, imported, each.payload))
        done: dict[int, list[Span]] = {}
        for partition in sorted(parted):
            pairs = zip(self._log.append(self._topic, parted[partition], partition), parted[partition], strict=True)
            done[partition] = [Span(partition, first, first + batch.count) for first, batch in pairs]
            begun = self._spans.get(partition, done[partition][0])
            self._spans[partition] = Span(partition, begun.start, done[partition][-1].end)
        return done

    def spans(self) -> tuple[Span, ...]:
        """Where the rows lie that were appended, by partition; those of others may lie between."""
        return tuple(self._spans[partition] for partition in sorted(self._spans))


def partition_of(key: Value, partitions: int) -> int:
    """The partition of the event with a key: text, a number, a truth, or a moment in ms.

    >>> [partition_of(key, 4) for key in ("p1", "p3", 7, True)]
    [0, 3, 3, 1]
    """
    return 0 if partitions == 1 else _mixed(crc32(entity_key(key))) % partitions


def partition_each(keys: "pa.ChunkedArray", partitions: int) -> "npt.NDArray[np.int64]":
    """`partition_of` each key of a column, shape [n].

    >>> import pyarrow as pa
    >>> partition_each(pa.chunked_array([["p1", "p3"]]), 4).tolist()
    [0, 3]
    """
    import numpy as np

    if partitions == 1:
        return np.zeros(len(keys), np.int64)
    hashed = np.array(_hashed(keys), np.uint32)
    hashed ^= hashed >> 16
    hashed *= np.uint32(_FIRST)
    hashed ^= hashed >> 13
    hashed *= np.uint32(_SECOND)
    hashed ^= hashed >> 16
    return (hashed % np.uint32(partitions)).astype(np.int64)


def pack_rows(rows: Sequence[tuple[Value, ...]], source: SourceDef, partitions: int) -> list[Portion]:
    """Typed rows, each in the portion of its partition, in order; none without rows."""
    if not rows:
        return []
    if partitions == 1:
        return [Portion(0, len(rows), encode_rows(rows))]
    parted: dict[int, list[tuple[Value, ...]]] = {}
    at = source.schema.names.index(source.schema.key)
    for row in rows:
        parted.setdefault(partition_of(row[at], partitions), []).append(row)
    return [Portion(partition, len(parted[partition]), encode_rows(parted[partition])) for partition in sorted(parted)]


def pack_table(table: "pa.Table", source: SourceDef, partitions: int, most: int = MAX_ROWS) -> list[Portion]:
    """The rows of a table in the source's columns, in portions of ``most`` rows at the most, in order in a partition."""
    from skyloom.ingest.codec import encode_table

    return [
        Portion(partition, len(chunk), encode_table(chunk if partitions == 1 else chunk.combine_chunks()))
        for partition, rows in _parted(table, source, partitions)
        for chunk in (rows.slice(start, most) for start in range(0, len(rows), most))
    ]


def _parted(table: "pa.Table", source: SourceDef, partitions: int) -> list[tuple[int, "pa.Table"]]:
    """The rows of each partition. Sorted by batches: a whole column may hold more text than Arrow takes rows out of."""
    if partitions == 1:
        return [(0, table)]
    import numpy as np
    import pyarrow as pa

    found = partition_each(table.column(source.schema.key), partitions)
    parted: dict[int, list[pa.RecordBatch]] = {}
    first = 0
    for batch in table.to_batches():
        mine = found[first : first + len(batch)]
        first += len(batch)
        ordered = batch.take(pa.array(np.argsort(mine, kind="stable")))
        counts = np.bincount(mine, minlength=partitions)
        starts = np.cumsum(counts) - counts
        for partition in np.flatnonzero(counts).tolist():
            parted.setdefault(partition, []).append(ordered.slice(starts[partition], counts[partition]))
    return [(partition, pa.Table.from_batches(parted[partition], table.schema)) for partition in sorted(parted)]


def _mixed(hashed: int) -> int:
    hashed ^= hashed >> 16
    hashed = hashed * _FIRST & _WORD
    hashed ^= hashed >> 13
    hashed = hashed * _SECOND & _WORD
    return hashed ^ hashed >> 16


def _hashed(keys: "pa.ChunkedArray") -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as _compute

    pc: Any = _compute
    if pa.types.is_string(keys.type) and not pc.any(pc.greater(pc.binary_length(keys), _LONGEST)).as_py():
        tag, nothing = crc32(b"s"), crc32(entity_key(None))
        return [nothing if text is None else crc32(text, tag) for text in keys.cast(pa.binary()).to_pylist()]
    plain = keys.cast(pa.int64()) if pa.types.is_timestamp(keys.type) else keys
    return [crc32(entity_key(key)) for key in plain.to_pylist()]
