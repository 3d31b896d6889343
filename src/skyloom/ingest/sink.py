"""From the log into the lake: first copies of events in batches, each batch once."""

from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.ingest.codec import decode, event_schema
from skyloom.ingest.partitions import SourcePart
from skyloom.ports.lake import Lake
from skyloom.ports.log import Log

pc: Any = _compute

APP = "sink"
"""The name under which positions of the log are kept in the lake's tables."""


class Slice(NamedTuple):
    """Decoded rows of a log, and the offset after them."""

    rows: pa.Table
    end: int


def events_topic(source: str) -> str:
    """The log topic, and the lake table, of a source's events."""
    return f"events/{source}"


def read_slice(log: Log, part: SourcePart, position: int, stop: int | None = None) -> Slice:
    """The next rows of a partition from ``position`` on, not beyond ``stop``."""
    found = log.read(events_topic(part.source.name), part.in_log(position), partition=part.partition)
    batches = [batch for batch in found if stop is None or part.position(batch.first) < stop]
    rows = decode(batches, part.source.schema, part.partition, part.partitions)
    return Slice(rows, part.position(batches[-1].end) if batches else position)


def read_all(log: Log, part: SourcePart, position: int, stop: int) -> pa.Table:
    """Every row of a partition from ``position`` up to ``stop`` that the log still holds."""
    tables = [event_schema(part.source.schema).empty_table()]
    while position < stop:
        rows, end = read_slice(log, part, position, stop)
        if end == position:
            break
        tables.append(rows)
        position = end
    return pa.concat_tables(tables)


def events_from(log: Log, part: SourcePart, position: int) -> int:
    """How many events a partition holds from ``position`` on."""
    return rows_from(log, events_topic(part.source.name), part.in_log(position), part.partition)


def rows_from(log: Log, topic: str, offset: int, partition: int = 0) -> int:
    """How many rows a topic holds from ``offset`` on. Where offsets leave gaps, they are read to be counted."""
    if log.dense:
        return max(0, log.end(topic, partition) - max(offset, log.start(topic, partition)))
    count = 0
    while batches := log.read(topic, offset, partition=partition):
        count += sum(batch.first + batch.count - max(batch.first, offset) for batch in batches)
        offset = batches[-1].end
    return count


class TableSink:
    """Gathers rows for one lake table and appends them together with the position they end at.

    ``rows`` counts those that wait; ``position`` is where the table stands. Rows that were offered but not flushed are
    lost with the process, and are read from the log again; those that the table holds already are left out. Several
    sinks may feed one table, each as an ``app`` of its own.
    """

    def __init__(self, lake: Lake, table: str, app: str = APP) -> None:
        self._lake, self._table, self._app = lake, table, app
        self._waiting: list[pa.Table] = []
        self.rows = 0
        self._end = self.position = self._stored = lake.position(table, app) or 0

    def offer(self, rows: pa.Table, end: int, offsets: pa.ChunkedArray | None = None) -> None:
        """Take rows of the log that end before offset ``end``; ``offsets`` are theirs where some may be in the table."""
        if offsets is not None and len(rows) and self.position > offsets[0].as_py():
            rows = rows.filter(pc.greater_equal(offsets, self.position))
        if len(rows):
            self._waiting.append(rows)
            self.rows += len(rows)
        self._end = max(end, self._end)

    @property
    def stored(self) -> int:
        """The position that the lake itself holds; where `position` is beyond it, there was nothing to append."""
        return self._stored

    def flush(self) -> int:
        """Append what waits, in one version of the table; how many rows. Raises `Transient`, and then all still waits, and
        `Conflict` when somebody else has appended for the same app since this sink began."""
        count = self.rows
        if count:
            rows = pa.concat_tables(self._waiting)
            self._lake.append(self._table, rows, app=self._app, position=self._end, after=self._stored)
            self._stored = self._end
        self._waiting.clear()
        self.rows = 0
        self.position = self._end
        return count
