"""Tables put into a Delta table of others."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from skyloom.kernel.errors import DataError, Refused, Transient, UsageError
from skyloom.ports.outlet import Finished, Outlet
from skyloom.stores.files import sync_folder, writable
from skyloom.stores.outlet.files import write_parts

if TYPE_CHECKING:
    from deltalake import DeltaTable, Field, Schema
    from deltalake.transaction import AddAction

_APP = "skyloom-score"


class DeltaOutlet:
    """A Delta table in a folder. What it holds is replaced by one commit, in a new version; older versions stay.

    The commit names the run and its rows, as a transaction of the app ``skyloom-score/RUN`` and in its notes: a run whose
    commit is there is not written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The address."""
        return f"delta://{self.path}"

    def check(self, schema: pa.Schema) -> None:
        """There is no table, or one of these columns."""
        from deltalake import Schema

        found = self._open()
        if found is None:
            if not self.path.parent.is_dir():
                raise UsageError(f"there is no folder {self.path.parent}", fix=f"mkdir -p {self.path.parent}")
            if self.path.exists() and (not self.path.is_dir() or any(not _is_part(path) for path in self.path.iterdir())):
                raise Refused(f"{self.path} is there already, and is no Delta table", fix="name another folder")
            return
        kept = Schema.from_arrow(_as_kept(schema)).fields
        theirs, ours = _told(found.schema().fields), _told(kept)
        if theirs != ours or found.metadata().partition_columns:
            raise Refused(
                f"{self.name} holds another table than these predictions",
                tried=f"its columns: {theirs}; those of predictions: {ours}, not partitioned",
                fix="name another folder",
            )

    def put(self, table: Finished) -> None:
        """Files in the order of the rows, then the one commit that names them. A killed process's are written over."""
        from deltalake import Schema

        self.check(table.schema)
        found, app = self._open(), f"{_APP}/{table.run}"
        if found is not None and found.transaction_version(app) == table.rows:
            return
        schema = _as_kept(table.schema)
        kept = table._replace(schema=schema, batches=lambda: (batch.cast(schema) for batch in table.batches()))
        with self._reached(), writable(self.path.parent):
            self.path.mkdir(exist_ok=True)
            parts = write_parts(self.path, kept)
            sync_folder(self.path)
            self._commit(found, Schema.from_arrow(schema), [_action(path, rows) for path, rows in parts], kept, app)

    def _commit(
        self, found: "DeltaTable | None", schema: "Schema", added: "list[AddAction]", table: Finished, app: str
    ) -> None:
        from deltalake import CommitProperties, Transaction
        from deltalake.transaction import create_table_with_add_actions

        notes = {f"skyloom.{name}": value for name, value in {**table.notes, "rows": str(table.rows)}.items()}
        named = CommitProperties(app_transactions=[Transaction(app, table.rows)], custom_metadata=notes)
        if found is None:
            create_table_with_add_actions(str(self.path), schema, added, commit_properties=named)
        else:
            found.create_write_transaction([*added], "overwrite", schema, commit_properties=named)

    def _open(self) -> "DeltaTable | None":
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return DeltaTable(self.path) if (self.path / "_delta_log").is_dir() else None
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise DataError(f"{self.name} cannot be read: {_first_line(error)}", fix="name another folder") from error

    @contextmanager
    def _reached(self) -> Generator[None]:
        from deltalake.exceptions import CommitFailedError, DeltaError

        try:
            yield
        except CommitFailedError as error:
            raise Transient(f"{self.name} was written by somebody else meanwhile", fix="try again") from error
        except DeltaError as error:
            raise Transient(
                f"{self.name} cannot be written now: {_first_line(error)}", fix="free some space there, then try again"
            ) from error


def _is_part(path: Path) -> bool:
    """Whether a killed process may have left it."""
    return path.name == "_delta_log" or (path.name.startswith("part-") and path.suffix == ".parquet")


def _as_kept(schema: pa.Schema) -> pa.Schema:
    """Delta keeps times in microseconds."""
    kinds = ((field.name, field.type) for field in schema)
    return pa.schema([(name, pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(kind) else kind) for name, kind in kinds])


def _told(fields: "list[Field]") -> str:
    return ", ".join(f"{field.name} {getattr(field.type, 'type', field.type)}" for field in fields)


def _action(path: Path, rows: int) -> "AddAction":
    from deltalake.transaction import AddAction

    at = path.stat()
    return AddAction(path.name, at.st_size, {}, int(at.st_mtime * 1000), True, json.dumps({"numRecords": rows}))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


if TYPE_CHECKING:
    _outlet: Outlet = DeltaOutlet(Path())
