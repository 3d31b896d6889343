"""Tables put into a Delta table of others."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from skyloom.kernel.errors import DataError, Refused, Transient, UsageError
from skyloom.ports.outlet import Finished, Outlet
from skyloom.stores.files import writable

if TYPE_CHECKING:
    from deltalake import DeltaTable

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
        found = self._open()
        if found is None:
            if not self.path.parent.is_dir():
                raise UsageError(f"there is no folder {self.path.parent}", fix=f"mkdir -p {self.path.parent}")
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise Refused(f"{self.path} is there already, and is no Delta table", fix="name another folder")
            return
        names = [field.name for field in found.schema().fields]
        if names != schema.names:
            raise Refused(
                f"{self.name} holds another table than predictions",
                tried=f"its columns: {', '.join(names)}; those of predictions: {', '.join(schema.names)}",
                fix="name another folder",
            )

    def put(self, table: Finished) -> None:
        """One commit; files of a killed process that nobody refers to are left to Delta's vacuum."""
        from deltalake import CommitProperties, Transaction, write_deltalake

        self.check(table.schema)
        found, app = self._open(), f"{_APP}/{table.run}"
        if found is not None and found.transaction_version(app) == table.rows:
            return
        notes = {f"skyloom.{name}": value for name, value in {**table.notes, "rows": str(table.rows)}.items()}
        properties = CommitProperties(app_transactions=[Transaction(app, table.rows)], custom_metadata=notes)
        reader = pa.RecordBatchReader.from_batches(table.schema, table.batches())
        with self._reached(), writable(self.path.parent):
            write_deltalake(self.path, reader, mode="overwrite", schema_mode="overwrite", commit_properties=properties)

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


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


if TYPE_CHECKING:
    _outlet: Outlet = DeltaOutlet(Path())
