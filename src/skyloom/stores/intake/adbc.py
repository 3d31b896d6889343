"""Rows of a database with an ADBC driver: ``adbc+sqlite:///shop.db``, ``adbc+postgresql://...``."""

import importlib
from collections.abc import Callable, Generator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from skyloom.ingest.sql import Rows
from skyloom.kernel.locations import SqlTable, resolved_url
from skyloom.stores.intake.statements import as_text, ascending, counted, everything
from skyloom.stores.intake.troubles import broken_off, no_driver, unheld, unreachable, unreadable

PREFIX = "adbc+"
_ALIASES = {"postgres": "postgresql"}


class AdbcRows:
    """A table or query behind ``adbc+NAME://...``, read by the driver ``adbc_driver_NAME``. Not for several threads."""

    def __init__(self, place: SqlTable) -> None:
        self._place = place
        scheme, _, rest = resolved_url(place.url).removeprefix(PREFIX).partition("://")
        scheme = _ALIASES.get(scheme, scheme)
        module = f"adbc_driver_{scheme}"
        try:
            self._driver: Any = importlib.import_module(f"{module}.dbapi")
        except ModuleNotFoundError as error:
            raise no_driver(place, module, module.replace("_", "-")) from error
        self._uri = rest.removeprefix("/") if scheme == "sqlite" else f"{scheme}://{rest}"
        self._literal = scheme == "postgresql"
        self._connection: Any = None

    def names(self) -> list[str]:
        """The names of all columns."""
        with self._asked(everything(self._place, _quote), []) as cursor:
            return [column[0] for column in cursor.description]

    def read(
        self, columns: Sequence[str], cursor: Sequence[str], since: tuple[Any, ...] | None, most: int
    ) -> Generator[list[tuple[Any, ...]], None, None]:
        """The rows from ``since`` on, streamed."""
        text, used = ascending(self._place, columns, cursor, _quote, self._parameter(since), since=since is not None)
        with self._asked(text, self._given(since, used)) as asked:
            batches = asked.fetch_record_batch()
            while (batch := self._next(batches)) is not None:
                for start in range(0, batch.num_rows, most):
                    rows = [self._values(column) for column in batch.slice(start, most).columns]
                    yield list(zip(*rows, strict=True))

    def count(self, cursor: Sequence[str], since: tuple[Any, ...] | None) -> tuple[int, int]:
        """How many rows there are, and how many from ``since`` on."""
        text, used = counted(self._place, cursor, _quote, self._parameter(since), since=since is not None)
        with self._asked(text, self._given(since, used)) as asked:
            batch = self._next(asked.fetch_record_batch())
            return int(batch.column(0)[0].as_py()), int(batch.column(1)[0].as_py())

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()

    def _parameter(self, since: tuple[Any, ...] | None) -> Callable[[int], str]:
        # PostgreSQL's driver streams only what has no parameters. A literal in quotes takes the type of its column.
        given = since or ()
        return (lambda n: _literal(given[n])) if self._literal else (lambda n: "?")

    def _given(self, since: tuple[Any, ...] | None, used: Sequence[int]) -> list[Any]:
        return [] if self._literal or since is None else [since[n] for n in used]

    def _asked(self, text: str, values: list[Any]) -> Any:
        try:
            self._connection = self._connection or self._driver.connect(self._uri)
        except self._driver.Error as error:
            raise unreachable(self._place, error) from None
        cursor = self._connection.cursor()
        try:
            cursor.execute(text, values or None)
        except self._driver.Error as error:
            cursor.close()
            if self._literal and isinstance(error, self._driver.OperationalError):
                raise broken_off(self._place, error) from error
            raise unreadable(self._place, error, text) from error
        return cursor

    def _next(self, batches: Any) -> Any:
        try:
            return next(batches, None)
        except (self._driver.Error, pa.ArrowException, OSError) as error:
            # No code comes with it. PostgreSQL calls an error what ends the statement, and FATAL what ends the connection.
            if self._literal and "ERROR: " in str(error):
                raise unheld(self._place, error) from error
            raise broken_off(self._place, error) from error

    def _values(self, column: Any) -> list[Any]:
        try:
            values: list[Any] = column.to_pylist()
        except (OverflowError, ValueError) as error:
            raise unheld(self._place, error) from error
        if getattr(column.type, "type_name", None) == "numeric":  # of PostgreSQL, whose decimals fit no type of Arrow's
            return [None if value is None else Decimal(value) for value in values]
        return values


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: object) -> str:
    r"""A value of a cursor as PostgreSQL reads it, whatever the server's ``standard_conforming_strings``.

    >>> print(_literal("a'b\\c"))
    E'a''b\\c'
    """
    return "E'" + as_text(value).replace("\\", "\\\\").replace("'", "''") + "'"


if TYPE_CHECKING:
    _rows: Rows = AdbcRows(SqlTable("", "", None, ()))
