"""The lake as Delta tables in a folder: Parquet files and a log of commits for each.

A commit appears by a rename, so a reader sees it whole or not at all and a killed writer leaves only files that nobody
refers to. Files are not synced one by one: after a crash of the machine the newest versions may be gone, and what is
appended with a position comes again from the log. Every version stays readable: nothing here removes old commits.
"""

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from skyloom.kernel.errors import Conflict, DataError, NotFound, Transient, UsageError
from skyloom.ports.lake import Lake
from skyloom.stores.files import private_folder, writable
from skyloom.stores.lake.conditions import Condition, condition_filter, known_columns, split
from skyloom.stores.lake.shapes import as_read, as_written, fitted

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@=-]*")
_LOG = "_delta_log"
_NOTE = "skyloom."
_ATTEMPTS = 50
# To open a table costs about 3 ms and 0.2 ms for every commit since its last checkpoint, to write one about 35 ms.
_CONFIGURATION = {"delta.checkpointInterval": "20", "delta.enableExpiredLogCleanup": "false"}


class DeltaLake:
    """Tables in the folder ``path``, made when it is new. Safe for threads and processes.

    Columns are read with the types they were written with; timestamps are kept in milliseconds, UTC, and strings as
    ``pa.string()``. Rows have no promised order.

    >>> import tempfile
    >>> lake = DeltaLake(Path(tempfile.mkdtemp()))
    >>> lake.append("events/arrivals", pa.table({"delay": [3.0, 21.0]}), app="log", position=2)
    0
    >>> lake.append("events/arrivals", pa.table({"delay": [3.0, 21.0]}), app="log", position=2)
    0
    >>> lake.read("events/arrivals", where=[("delay", ">", 15)]).to_pylist()
    [{'delay': 21.0}]
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with writable(path):
            private_folder(path)

    def append(
        self,
        table: str,
        rows: pa.Table,
        *,
        app: str | None = None,
        position: int | None = None,
        after: int | None = None,
    ) -> int:
        """Add rows, making the table when it is new; the table's version afterwards.

        Raises `DataError` for columns that are not the table's, and names them; `Conflict` as the port says.
        """
        if (app is None) is not (position is None):
            raise UsageError("an append has an app and a position, or neither")

        def once() -> int:
            current = self._open(table)
            if current is None:
                return self._create(table, rows, _properties(app, position, retries=0))
            if app is not None and position is not None:
                stands = _position(current, app)
                if position <= stands:
                    return current.version()
                if after is not None and max(stands, 0) != after:
                    raise Conflict(
                        f"somebody else has appended to {table}",
                        tried=f"an append of {app} after position {after}; the table stands at {stands}",
                        fix="nothing: this worker begins again from the store, or ends",
                    )
            return _write(current, fitted(rows, as_read(current), table), "append", _properties(app, position))

        return self._repeat(table, once)

    def overwrite(self, table: str, rows: pa.Table, *, note: Mapping[str, str] | None = None) -> int:
        """Replace all rows, and the columns, in a new version, which keeps ``note`` in its commit; the version."""

        def once() -> int:
            current = self._open(table)
            if current is None:
                return self._create(table, rows, _properties(None, None, retries=0, note=note))
            return _write(current, as_written(rows), "overwrite", _properties(None, None, note=note))

        return self._repeat(table, once)

    def note(self, table: str, version: int) -> dict[str, str]:
        """What was noted of a version when it was written; nothing for most. Raises `NotFound`."""
        self._existing(table, version)
        newest = self._existing(table, None)  # commits are listed from the newest back, whichever version is open
        commit = newest.history(newest.version() - version + 1)[-1]
        return {name[len(_NOTE) :]: str(value) for name, value in commit.items() if name.startswith(_NOTE)}

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> pa.Table:
        """The rows of a version that fulfil all conditions. A time is given as a datetime or in milliseconds.

        Null fulfils no condition, NaN only ``!=``. Raises `NotFound`, and `DataError` for a column that is not there.
        """
        schema, batches = self._batches(table, columns, version, where)
        return pa.Table.from_batches(list(batches), schema)

    def scan(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[tuple[str, str, object]] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """What `read` gives, batch by batch, of which a few are held at a time. Raises as `read` does."""
        yield from self._batches(table, columns, version, where)[1]

    def version(self, table: str) -> int | None:
        """The newest version, or ``None`` when there is no such table."""
        found = self._open(table)
        return None if found is None else found.version()

    def position(self, table: str, app: str) -> int | None:
        """The position of the last append of ``app``, or ``None``."""
        found = self._open(table)
        return None if found is None else found.transaction_version(app)

    def tables(self) -> list[str]:
        """The names of all tables, sorted."""
        logs = (log for log in self._path.rglob(_LOG) if any(log.glob("*.json")))
        return sorted(log.parent.relative_to(self._path).as_posix() for log in logs)

    def _folder(self, table: str) -> Path:
        words = table.split("/")
        if not all(_WORD.fullmatch(word) for word in words):
            raise UsageError(f"{table!r} is no name of a table", fix="name it as events/arrivals")
        return self._path.joinpath(*words)

    def _batches(
        self,
        table: str,
        columns: Sequence[str] | None,
        version: int | None,
        where: list[tuple[str, str, object]] | None,
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        found = self._existing(table, version)
        schema = as_read(found)
        wanted = known_columns(schema, columns, table)
        conditions = [Condition(*condition) for condition in where or []]
        known_columns(schema, [condition.column for condition in conditions], table)
        pushed, kept = split(conditions, schema)
        needed = list(dict.fromkeys([*wanted, *(condition.column for condition in kept)]))
        target = pa.schema([schema.field(name) for name in wanted])
        after = condition_filter(kept, schema)

        def batches() -> Iterator[pa.RecordBatch]:
            with _readable(table):
                scanner = found.to_pyarrow_dataset().scanner(
                    columns=needed, filter=condition_filter(pushed, schema), batch_readahead=8, fragment_readahead=4
                )
                for batch in scanner.to_batches():
                    fit = batch if after is None else batch.filter(after)
                    yield fit.select(wanted).cast(target)

        return target, batches()

    def _existing(self, table: str, version: int | None) -> "DeltaTable":
        found = self._open(table, version)
        if found is None:
            raise NotFound(f"there is no table {table}", tried=str(self._folder(table)))
        return found

    def _open(self, table: str, version: int | None = None) -> "DeltaTable | None":
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        folder = self._folder(table)
        if not (folder / _LOG).is_dir():
            return None
        try:
            with _readable(table):
                newest = DeltaTable(folder)
        except TableNotFoundError:
            return None
        if version is None or version == newest.version():
            return newest
        try:
            return DeltaTable(folder, version=version)
        except (DeltaError, OverflowError) as error:
            fix = f"read one of the versions 0 to {newest.version()}"
            raise NotFound(f"{table} has no version {version}", tried=str(folder), fix=fix) from error

    def _create(self, table: str, rows: pa.Table, properties: "CommitProperties") -> int:
        from deltalake import DeltaTable, write_deltalake

        folder = self._folder(table)
        private_folder(folder)
        written = as_written(rows)
        # Without retries: a commit that creates would be tried again after that of another writer, and both would stand.
        write_deltalake(folder, written, mode="error", configuration=_CONFIGURATION, commit_properties=properties)
        return DeltaTable(folder).version()

    def _repeat(self, table: str, once: Callable[[], int]) -> int:
        """Try until no other writer comes first."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        for _ in range(_ATTEMPTS):
            existed = (self._folder(table) / _LOG).is_dir()
            try:
                with writable(self._folder(table)):
                    return once()
            except CommitFailedError:
                continue
            except DeltaError as error:
                if not existed and self._open(table) is not None:
                    continue  # somebody else made the table meanwhile
                raise Transient(
                    f"{table} cannot be written now: {_first_line(error)}",
                    tried=str(self._folder(table)),
                    fix="free some space there, then try again",
                ) from error
        raise Transient(f"{table} is written by too many at once", tried=str(self._folder(table)), fix="try again")


def _properties(
    app: str | None, position: int | None, retries: int | None = None, note: Mapping[str, str] | None = None
) -> "CommitProperties":
    from deltalake import CommitProperties, Transaction

    applied = [] if app is None or position is None else [Transaction(app, position)]
    noted = {f"{_NOTE}{name}": value for name, value in (note or {}).items()}
    return CommitProperties(app_transactions=applied, max_commit_retries=retries, custom_metadata=noted)


def _position(table: "DeltaTable", app: str) -> int:
    position = table.transaction_version(app)
    return -1 if position is None else position


def _write(table: "DeltaTable", rows: pa.Table, mode: Any, properties: "CommitProperties") -> int:
    from deltalake import write_deltalake

    schema_mode: Any = "overwrite" if mode == "overwrite" else None
    write_deltalake(table, rows, mode=mode, schema_mode=schema_mode, commit_properties=properties)
    return table.version()


@contextmanager
def _readable(table: str) -> Generator[None]:
    """Turns what goes wrong while reading into `DataError`."""
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        yield
    except TableNotFoundError:
        raise
    except (DeltaError, OSError) as error:
        raise DataError(f"{table} cannot be read: {_first_line(error)}", fix="put its folder back from a copy") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


if TYPE_CHECKING:
    _lake: Lake = DeltaLake(Path())
