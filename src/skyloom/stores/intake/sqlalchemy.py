"""Rows of any database that SQLAlchemy reaches."""

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from skyloom.ingest.sql import Rows
from skyloom.kernel.errors import MissingExtra, UsageError
from skyloom.kernel.locations import SqlTable, resolved_url
from skyloom.stores.intake.statements import as_text, ascending, counted, everything
from skyloom.stores.intake.troubles import broken_off, no_driver, unheld, unreachable, unreadable

_COLON = re.compile(r"(?<![:\\]):(?=\w)")


class SqlAlchemyRows:
    """A table or query of a database at a URL of SQLAlchemy; connected when it is first asked. Not for several threads."""

    def __init__(self, place: SqlTable) -> None:
        try:
            import sqlalchemy
        except ModuleNotFoundError as error:
            raise MissingExtra("sqlalchemy", "sql") from error
        self._sql: Any = sqlalchemy
        self._place = place if place.query is None else place._replace(query=_plain(place.query))
        try:
            self._engine: Any = sqlalchemy.create_engine(resolved_url(place.url), poolclass=sqlalchemy.NullPool)
        except ModuleNotFoundError as error:
            raise no_driver(place, error.name or "of SQLAlchemy") from error
        except (self._sql.exc.ArgumentError, ValueError) as error:
            fix = "write postgresql://USER:${NAME}@HOST:PORT/DATABASE, or another address of SQLAlchemy (see sky.sql)"
            raise UsageError(f"{place.name} is no address of a database", tried="SQLAlchemy", fix=fix) from error

    def names(self) -> list[str]:
        """The names of all columns."""
        with self._connected() as connection:
            return list(self._asked(connection, everything(self._place, self._quote), {}).keys())

    def read(
        self, columns: Sequence[str], cursor: Sequence[str], since: tuple[Any, ...] | None, most: int
    ) -> Generator[list[tuple[Any, ...]], None, None]:
        """The rows from ``since`` on, streamed."""
        text, _ = ascending(self._place, columns, cursor, self._quote, lambda n: f":c{n}", since=since is not None)
        values = self._values(since)
        with self._connected() as connection:
            streamed = connection.execution_options(stream_results=True, max_row_buffer=most)
            with closing(self._asked(streamed, text, values)) as result:
                while batch := self._fetched(result, most):
                    yield [tuple(row) for row in batch]

    def count(self, cursor: Sequence[str], since: tuple[Any, ...] | None) -> tuple[int, int]:
        """How many rows there are, and how many from ``since`` on."""
        text, _ = counted(self._place, cursor, self._quote, lambda n: f":c{n}", since=since is not None)
        with self._connected() as connection, closing(self._asked(connection, text, self._values(since))) as result:
            [row] = self._fetched(result, 2)
            return int(row[0]), int(row[1])

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _values(self, since: tuple[Any, ...] | None) -> dict[str, Any]:
        given = as_text if self._engine.dialect.name == "postgresql" else lambda value: value
        return {f"c{n}": given(value) for n, value in enumerate(since or ())}

    def _quote(self, name: str) -> str:
        quoted = str(self._engine.dialect.identifier_preparer.quote(name))
        if quoted.count("%") > name.count("%"):  # doubled for the driver: a text's own are, once more
            quoted = quoted.replace("%%", "%")
        return _plain(quoted)

    def _connected(self) -> Any:
        try:
            return self._engine.connect()
        except self._sql.exc.SQLAlchemyError as error:
            raise unreachable(self._place, _said(error)) from None

    def _asked(self, connection: Any, text: str, values: dict[str, Any]) -> Any:
        try:
            return connection.execute(self._sql.text(text), values)
        except self._sql.exc.SQLAlchemyError as error:
            if getattr(error, "connection_invalidated", False):
                raise broken_off(self._place, _said(error)) from error
            raise unreadable(self._place, _said(error), text) from error

    def _fetched(self, result: Any, most: int) -> Any:
        try:
            return result.fetchmany(most)
        except (self._sql.exc.DataError, self._sql.exc.ProgrammingError, ValueError, OverflowError) as error:
            raise unheld(self._place, _said(error)) from error
        except self._sql.exc.SQLAlchemyError as error:
            raise broken_off(self._place, _said(error)) from error


def _plain(text: str) -> str:
    """SQL in which a colon before a word is no parameter of SQLAlchemy's."""
    return _COLON.sub(r"\\:", text)


def _said(error: Any) -> Any:
    """What the driver said, without the statement and its values."""
    return getattr(error, "orig", None) or error


if TYPE_CHECKING:
    _rows: Rows = SqlAlchemyRows(SqlTable("", "", None, ()))
