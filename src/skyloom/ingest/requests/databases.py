"""Requests from a table or query of a database, in the order of a cursor."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import msgspec

from skyloom.ingest.contract import require_columns
from skyloom.ingest.requests.batch import ReadOneByOne, RequestBatch, RequestSource, gathered
from skyloom.ingest.rows import row_type
from skyloom.ingest.sql import Rows
from skyloom.ingest.sql_values import as_objects, cursor_text, cursor_value
from skyloom.kernel.errors import DataError
from skyloom.kernel.ids import content_id
from skyloom.kernel.locations import SqlTable
from skyloom.kernel.records.definitions import SourceDef

_ROWS = 8_192
_Row = tuple[Any, ...]


class DatabaseRequests:
    """The rows of ``place``, each known by the values of its cursor, which no two of them share.

    A run reads what one statement sees. One that goes on asks anew: it reads the rows behind its position as they are then,
    and is refused where rows before it were added or taken away.
    """

    def __init__(self, place: SqlTable, rows: Rows) -> None:
        self._place, self._rows, self._every = place, rows, 0

    @property
    def name(self) -> str:
        """Where it is, without who asks."""
        return self._place.name

    def bind(self, identity: str | None = None) -> str:
        """Names the table, not its content. Raises `DataError` for rows without a place in the order."""
        self._every, placed = self._rows.count(self._place.cursor, None)
        if placed < self._every:
            cursor = ", ".join(self._place.cursor)
            raise DataError(
                f"{self._every - placed:,} rows of {self.name} have no value in their cursor {cursor}, so no place",
                fix="name another cursor, or leave such rows out by a query: ?query=SELECT...",
            )
        return content_id(list(self._place))

    def count(self) -> int:
        """How many rows there were when it was bound."""
        return self._every

    def read(self, source: SourceDef, most: int, done: int = 0, mark: str = "") -> Iterator[RequestBatch]:
        """The rows behind ``mark``; a value that is not what is declared is a fault of its row."""
        names = self._rows.names()
        require_columns(names, source, self.name)
        absent = [name for name in self._place.cursor if name not in names]
        if absent:
            raise DataError(f"{self.name} lacks {absent[0]}, its cursor", tried=", ".join(names), fix="name another")
        yield from gathered(self._batches(source, done, mark, min(most, _ROWS)), lambda: most)

    def close(self) -> None:
        """Let go of the database."""
        self._rows.close()

    def _batches(self, source: SourceDef, done: int, mark: str, most: int) -> Iterator[RequestBatch]:
        declared = source.schema.names
        columns = [*declared, *(name for name in self._place.cursor if name not in declared)]
        at = [columns.index(name) for name in self._place.cursor]
        since = _values(mark)
        if since is not None:
            self._check_done(done, since)
        last, reading, read = since, ReadOneByOne(source), row_type(source.schema).from_object
        with closing(self._rows.read(columns, self._place.cursor, since, most)) as batches:
            for number, batch in enumerate(batches):
                fresh = batch
                if since is not None and number == 0:
                    if tuple(batch[0][index] for index in at) != since:
                        raise self._changed("the row where it stands, which is gone")
                    fresh = batch[1:]
                last = self._check_order(fresh, at, last)
                for row in as_objects(fresh, source.schema):
                    try:
                        reading.add(read(row))
                    except DataError as error:
                        reading.add_fault(error, row)
                if fresh:
                    yield reading.take(self._mark(last or ()))

    def _check_done(self, done: int, since: _Row) -> None:
        every, left = self._rows.count(self._place.cursor, since)
        if every - left + 1 != done:
            raise self._changed(f"{every - left + 1:,} rows up to the one where it stands, {done:,} of them scored")

    def _changed(self, tried: str) -> DataError:
        return DataError(f"{self.name} has changed since its scoring began", tried=tried, fix="add --restart to begin anew")

    def _check_order(self, rows: Sequence[_Row], at: list[int], last: _Row | None) -> _Row | None:
        """The cursor of the last row. Raises `DataError` where two rows, which stand side by side then, have the same."""
        for row in rows:
            values = tuple(row[index] for index in at)
            if values == last:
                told = ", ".join(f"{name} = {value}" for name, value in zip(self._place.cursor, values, strict=True))
                raise DataError(
                    f"several rows of {self.name} have {told}: they cannot be told apart when a killed run goes on",
                    fix="add a column to the cursor that makes it unique: &cursor=COLUMN,COLUMN",
                )
            last = values
        return last

    def _mark(self, values: _Row) -> str:
        return msgspec.json.encode([cursor_text(value, self._place) for value in values]).decode()


def _values(mark: str) -> _Row | None:
    if not mark:
        return None
    return tuple(cursor_value(kind, text) for kind, text in msgspec.json.decode(mark, type=list[tuple[str, str]]))


if TYPE_CHECKING:
    _source: RequestSource = DatabaseRequests(SqlTable("", "", None, ()), cast("Rows", None))
