"""Tables put into any database that SQLAlchemy reaches."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from skyloom.kernel.errors import DataError, MissingExtra, Refused, Transient, UsageError
from skyloom.kernel.locations import SqlTable, masked, resolved_url
from skyloom.ports.outlet import Finished, Outlet
from skyloom.stores.intake.statements import parts_of
from skyloom.stores.intake.troubles import no_driver, unreachable

_ROWS = 8_192


class SqlAlchemyOutlet:
    """A table of a database, made when it is new. Its rows are replaced in one transaction, which readers see at its end.

    Not for several threads.
    """

    def __init__(self, place: SqlTable) -> None:
        try:
            import sqlalchemy
        except ModuleNotFoundError as error:
            raise MissingExtra("sqlalchemy", "sql") from error
        self._sql: Any = sqlalchemy
        self._place = place
        *schema, self._table = parts_of(place.table or "")
        self._schema = ".".join(schema) or None
        try:
            self._engine: Any = sqlalchemy.create_engine(resolved_url(place.url), poolclass=sqlalchemy.NullPool)
        except ModuleNotFoundError as error:
            raise no_driver(place, error.name or "of SQLAlchemy") from error
        except (self._sql.exc.ArgumentError, ValueError) as error:
            fix = "write postgresql://USER:${NAME}@HOST:PORT/DATABASE?table=NAME, or another address of SQLAlchemy"
            raise UsageError(f"{place.name} is no address of a database", tried="SQLAlchemy", fix=fix) from error
        if self._engine.dialect.name == "sqlite":
            self._whole_transactions()

    @property
    def name(self) -> str:
        """Where it is, without who asks."""
        return self._place.name

    def check(self, schema: pa.Schema) -> None:
        """There is no such table, or one of these columns."""
        with self._reached(), self._connected() as connection:
            self._columns(connection, schema)

    def put(self, table: Finished) -> None:
        """The rows before are deleted and the new ones inserted, all or nothing."""
        with self._reached(), self._connected() as connection, connection.begin():
            target = self._described(table.schema)
            if self._columns(connection, table.schema) is None:
                target.create(connection)
            else:
                connection.execute(target.delete())
            for batch in table.batches():
                for start in range(0, batch.num_rows, _ROWS):
                    connection.execute(target.insert(), batch.slice(start, _ROWS).to_pylist())

    def _described(self, schema: pa.Schema) -> Any:
        kinds = [self._sql.Column(field.name, self._kind(field.type)) for field in schema]
        return self._sql.Table(self._table, self._sql.MetaData(), *kinds, schema=self._schema)

    def _kind(self, kind: pa.DataType) -> Any:
        if pa.types.is_timestamp(kind):
            return self._sql.DateTime(timezone=True)
        if pa.types.is_integer(kind):
            return self._sql.BigInteger()
        if pa.types.is_floating(kind):
            return self._sql.Double()
        return self._sql.Boolean() if pa.types.is_boolean(kind) else self._sql.Text()

    def _columns(self, connection: Any, schema: pa.Schema) -> list[str] | None:
        """The names of the table's columns, which are those of ``schema``; ``None`` where there is no such table."""
        try:
            found = self._sql.inspect(connection).get_columns(self._table, schema=self._schema)
        except self._sql.exc.NoSuchTableError:
            return None
        names = [str(column["name"]) for column in found]
        if sorted(names) != sorted(schema.names):
            raise Refused(
                f"{self.name} holds another table than predictions",
                tried=f"its columns: {', '.join(names)}; those of predictions: {', '.join(schema.names)}",
                fix="name another table",
            )
        return names

    def _whole_transactions(self) -> None:
        """The driver of SQLite begins a transaction after a table was made; so each begins where SQLAlchemy says."""

        def connected(connection: Any, _: Any) -> None:
            connection.isolation_level = None

        def begun(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        self._sql.event.listen(self._engine, "connect", connected)
        self._sql.event.listen(self._engine, "begin", begun)

    def _connected(self) -> Any:
        try:
            return self._engine.connect()
        except self._sql.exc.SQLAlchemyError as error:
            raise unreachable(self._place, getattr(error, "orig", None) or error) from None

    @contextmanager
    def _reached(self) -> Generator[None]:
        try:
            yield
        except self._sql.exc.SQLAlchemyError as error:
            said = masked(str(getattr(error, "orig", None) or error), self._place.url).partition("\n")[0]
            if isinstance(error, self._sql.exc.OperationalError | self._sql.exc.InterfaceError):
                raise Transient(
                    f"{self.name} cannot be written now: {said}", fix="try again: the scores are kept"
                ) from error
            fix = "see that this user may make the table, insert and delete in it, and that it holds any key and score"
            raise DataError(f"{self.name} cannot be written: {said}", fix=fix) from error


if TYPE_CHECKING:
    _outlet: Outlet = SqlAlchemyOutlet(SqlTable("", "", None, ()))
