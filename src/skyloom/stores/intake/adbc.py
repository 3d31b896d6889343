"""Rows of a database with an ADBC driver: ``adbc+sqlite:///shop.db``, ``adbc+postgresql://...``."""

import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from skyloom.ingest.sql import Rows
from skyloom.kernel.errors import DataError, Transient, UsageError
from skyloom.kernel.locations import SqlTable, resolved_url
from skyloom.stores.intake.statements import ascending, everything

PREFIX = "adbc+"


class AdbcRows:
    """A table or query behind ``adbc+NAME://...``, read by the driver ``adbc_driver_NAME``. Not for several threads."""

    def __init__(self, place: SqlTable) -> None:
        self._place = place
        scheme, _, rest = resolved_url(place.url).removeprefix(PREFIX).partition("://")
        module = f"adbc_driver_{scheme}"
        try:
            self._driver: Any = importlib.import_module(f"{module}.dbapi")
        except ModuleNotFoundError as error:
            fix = f"pip install {module.replace('_', '-')}"
            raise UsageError(f"{place.name}: its driver {module} is not installed", fix=fix) from error
        self._uri = rest.removeprefix("/") if scheme == "sqlite" else f"{scheme}://{rest}"
        self._numbered = scheme == "postgresql"
        self._connection: Any = None

    def names(self) -> list[str]:
        """The names of all columns."""
        with self._asked(everything(self._place, _quote), []) as cursor:
            return [column[0] for column in cursor.description]

    def read(
        self, columns: Sequence[str], cursor: Sequence[str], since: tuple[Any, ...] | None, most: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """The rows from ``since`` on, streamed."""
        parameter = (lambda n: f"${n + 1}") if self._numbered else (lambda n: "?")
        text, used = ascending(self._place, columns, cursor, _quote, parameter, since=since is not None)
        values = list(since or ())
        with self._asked(text, values if self._numbered or since is None else [values[n] for n in used]) as asked:
            batches = asked.fetch_record_batch()
            while (batch := self._next(batches)) is not None:
                for start in range(0, batch.num_rows, most):
                    rows: list[list[Any]] = [column.to_pylist() for column in batch.slice(start, most).columns]
                    yield list(zip(*rows, strict=True))

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()

    def _asked(self, text: str, values: list[Any]) -> Any:
        try:
            self._connection = self._connection or self._driver.connect(self._uri)
        except self._driver.Error as error:
            raise Transient(f"{self._place.name} cannot be reached: {error}", fix="try again") from error
        cursor = self._connection.cursor()
        try:
            cursor.execute(text, values or None)
        except self._driver.Error as error:
            cursor.close()
            raise DataError(f"{self._place.name} cannot be read: {error}", tried=text) from error
        return cursor

    def _next(self, batches: Any) -> Any:
        try:
            return next(batches, None)
        except (self._driver.Error, pa.ArrowException, OSError) as error:
            raise Transient(f"{self._place.name} broke off: {error}", fix="try again: it goes on there") from error


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


if TYPE_CHECKING:
    _rows: Rows = AdbcRows(SqlTable("", "", None, ()))
