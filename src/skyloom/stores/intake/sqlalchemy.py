"""Rows of any database that SQLAlchemy reaches."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from skyloom.ingest.sql import Rows
from skyloom.kernel.errors import DataError, MissingExtra, Transient, UsageError
from skyloom.kernel.locations import SqlTable, resolved_url
from skyloom.stores.intake.statements import ascending, everything

_COLON = re.compile(r"(?<![:\\]):(?=\w)")


class SqlAlchemyRows:
    """A table or query of a database at a URL of SQLAlchemy; connected when it is first asked. Not for several threads."""

    def __init__(self, place: SqlTable) -> None:
        try:
            import sqlalchemy
        except ModuleNotFoundError as error:
            raise MissingExtra("sqlalchemy", "sql") from error
        self._sql: Any = sqlalchemy
        errors = self._sql.exc
        self._place = place if place.query is None else place._replace(query=_COLON.sub(r"\\:", place.query))
        try:
            self._engine: Any = sqlalchemy.create_engine(resolved_url(place.url), poolclass=sqlalchemy.NullPool)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{place.name}: its driver {error.name} is not installed", fix=f"pip install {error.name}"
            ) from error
        except errors.ArgumentError as error:
            raise UsageError(f"{place.name} is no address of a database", tried="SQLAlchemy", fix="see sky.sql") from error
        self._quote = self._engine.dialect.identifier_preparer.quote

    def names(self) -> list[str]:
        """The names of all columns."""
        with self._connected() as connection:
            return list(self._asked(connection, everything(self._place, self._quote), {}).keys())

    def read(
        self, columns: Sequence[str], cursor: Sequence[str], since: tuple[Any, ...] | None, most: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """The rows from ``since`` on, streamed."""
        text, _ = ascending(self._place, columns, cursor, self._quote, lambda n: f":c{n}", since=since is not None)
        values = {f"c{n}": value for n, value in enumerate(since or ())}
        with self._connected() as connection:
            streamed = connection.execution_options(stream_results=True, max_row_buffer=most)
            result = self._asked(streamed, text, values)
            while batch := self._fetched(result, most):
                yield [tuple(row) for row in batch]

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _connected(self) -> Any:
        try:
            return self._engine.connect()
        except self._sql.exc.SQLAlchemyError as error:
            raise Transient(f"{self._place.name} cannot be reached: {_said(error)}", fix="try again") from error

    def _asked(self, connection: Any, text: str, values: dict[str, Any]) -> Any:
        try:
            return connection.execute(self._sql.text(text), values)
        except self._sql.exc.SQLAlchemyError as error:
            raise DataError(f"{self._place.name} cannot be read: {_said(error)}", tried=text) from error

    def _fetched(self, result: Any, most: int) -> Any:
        try:
            return result.fetchmany(most)
        except self._sql.exc.SQLAlchemyError as error:
            raise Transient(f"{self._place.name} broke off: {_said(error)}", fix="try again: it goes on there") from error


def _said(error: Any) -> str:
    """What the driver said, without the statement and its values."""
    return str(getattr(error, "orig", None) or error)


if TYPE_CHECKING:
    _rows: Rows = SqlAlchemyRows(SqlTable("", "", None, ()))
