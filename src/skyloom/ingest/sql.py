"""Rows of a database, as far as they are new: read in the order of a cursor, whose position is kept."""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, Protocol

import msgspec

from skyloom.ingest.contract import require_columns, row_text
from skyloom.ingest.gateway import Judged, judge_each
from skyloom.ingest.imports import Imported
from skyloom.ingest.partitions import Appender
from skyloom.ingest.quarantine import Quarantine, Reject
from skyloom.ingest.rows import row_type
from skyloom.ingest.sql_values import as_objects, cursor_text, cursor_value
from skyloom.kernel.errors import DataError
from skyloom.kernel.ids import content_id, digest
from skyloom.kernel.locations import SqlTable
from skyloom.kernel.records.definitions import SourceDef
from skyloom.ports.log import Log
from skyloom.ports.metadata import Metadata

BATCH = 8_192
"""Rows that are read, appended and remembered together: what bounds the memory."""

KIND = "cursor"
_MOST_TIES = 10_000
_Row = tuple[Any, ...]
_DIGEST = 16


class Rows(Protocol):
    """A table or query of one database. Raises `Transient` when it cannot be reached, `DataError` for what it refuses."""

    def names(self) -> list[str]:
        """The names of all its columns."""
        ...

    def read(
        self, columns: Sequence[str], cursor: Sequence[str], since: _Row | None, most: int
    ) -> Generator[list[_Row], None, None]:
        """Values of ``columns``, ``most`` rows at a time, ascending by ``cursor``: rows that have a value in each of its
        columns, at or after ``since``. Who does not read to the end closes it."""
        ...

    def count(self, cursor: Sequence[str], since: _Row | None) -> tuple[int, int]:
        """How many rows there are, and how many of them `read` gives."""
        ...

    def close(self) -> None: ...


class Position(msgspec.Struct, frozen=True):
    """Where the reading of a source stands: ``of`` names what was read, ``values`` are the cursor's of the last row, as
    (type, text), and ``ties`` the digests of the rows that have just these values and are in already."""

    of: str
    values: tuple[tuple[str, str], ...]
    ties: tuple[str, ...] = ()


def import_sql(
    source: SourceDef,
    place: SqlTable,
    rows: Rows,
    *,
    log: Log,
    metadata: Metadata,
    actor: str,
    now_ms: Callable[[], int],
    on_rows: Callable[[int], None] | None = None,
) -> Imported:
    """Bring in the rows of ``place`` from the cursor's position on.

    The position is stored after the rows are in the log: a crash in between loses none, and brings some again, which are
    known by their keys. A row whose cursor is set later than that of rows that were already seen, to a smaller value (by
    a transaction that took long), is not seen. Raises `DataError`, `Transient`.
    """
    require_columns(rows.names(), source, place.name)
    absent = [name for name in place.cursor if name not in rows.names()]
    if absent:
        raise DataError(f"{place.name} lacks {absent[0]}, its cursor", tried=", ".join(rows.names()), fix="name another")
    reading = _Reading(source, place, log, metadata, actor)
    with closing(rows.read(reading.columns, place.cursor, reading.since, BATCH)) as batches:
        for batch in batches:
            reading.take(batch, now_ms())
            if on_rows:
                on_rows(len(batch))
    return reading.imported()


class _Reading:
    """One run over what is new."""

    def __init__(self, source: SourceDef, place: SqlTable, log: Log, metadata: Metadata, actor: str) -> None:
        self._source, self._place, self._log, self._metadata, self._actor = source, place, log, metadata, actor
        declared = source.schema.names
        self.columns = [*declared, *(name for name in place.cursor if name not in declared)]
        self._cursor = [self.columns.index(name) for name in place.cursor]
        self._type = row_type(source.schema)
        self._of = content_id([place.table, place.query, place.cursor])
        self._position = self._stored()
        self._quarantine = Quarantine(log, source.name, "sql", place.name.__eq__)
        self._events = Appender(log, source)
        self._rows = self._accepted = 0
        self._reasons: Counter[str] = Counter()

    @property
    def since(self) -> _Row | None:
        """The cursor's values to read from."""
        return None if self._position is None else tuple(cursor_value(kind, text) for kind, text in self._position.values)

    def take(self, batch: list[_Row], now_ms: int) -> None:
        """Append a batch, set aside what breaks the contract, and remember where it ends."""
        digests = [digest(repr(row).encode())[:_DIGEST] for row in batch]
        fresh = self._fresh(batch, digests)
        judged = self._judged(fresh, now_ms)
        self._events.append(judged.portions, now_ms, imported=True)
        self._quarantine.keep((Reject(bad.reason, bad.text, self._place.name) for bad in judged.bad), now_ms)
        self._remember(batch, digests)
        self._quarantine.done()
        self._rows += len(fresh)
        self._accepted += judged.good
        self._reasons.update(bad.reason for bad in judged.bad)

    def imported(self) -> Imported:
        """What was done, all of it."""
        self._quarantine.finish()
        return Imported(
            self._source.name,
            self._place.name,
            self._rows,
            self._accepted,
            self._rows - self._accepted,
            dict(self._reasons),
            self._events.partitions,
            self._events.spans(),
        )

    def _fresh(self, batch: list[_Row], digests: list[str]) -> list[_Row]:
        """The rows without those that came in at the end of the last batch."""
        position = self._position
        if position is None or not position.ties:
            return batch
        known = set(position.ties)
        pairs = zip(batch, digests, strict=True)
        return [row for row, made in pairs if made not in known or self._values(row) != position.values]

    def _judged(self, rows: list[_Row], now_ms: int) -> Judged:
        named = as_objects(rows, self._source.schema)
        return judge_each(named, self._type.from_object, row_text, self._source, now_ms, self._events.partitions)

    def _values(self, row: _Row) -> tuple[tuple[str, str], ...]:
        return tuple(cursor_text(row[at], self._place) for at in self._cursor)

    def _remember(self, batch: list[_Row], digests: list[str]) -> None:
        last = self._values(batch[-1])
        pairs = zip(batch, digests, strict=True)
        ties = [made for row, made in pairs if self._values(row) == last]
        if self._position is not None and self._position.values == last:
            ties = sorted({*ties, *self._position.ties})
        position = Position(self._of, last, tuple(ties) if len(ties) <= _MOST_TIES else ())
        if position == self._position:
            return
        self._position = position
        with self._metadata.transaction(self._actor) as transaction:
            transaction.put(KIND, self._source.name, msgspec.json.encode(position), action="ingested as far as")

    def _stored(self) -> Position | None:
        document = self._metadata.get(KIND, self._source.name)
        position = None if document is None else msgspec.json.decode(document.body, type=Position)
        return position if position is not None and position.of == self._of else None
