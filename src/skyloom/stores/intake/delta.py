"""A Delta table of others, read as it was in one version."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from skyloom.ingest.requests import Snapshot
from skyloom.kernel.errors import DataError, NotFound

if TYPE_CHECKING:
    from deltalake import DeltaTable

_ROWS = 65_536


class DeltaSnapshot:
    """A version of the table in a folder. Its rows come file by file, in the order in which the files came into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "_delta_log").is_dir():
            raise NotFound(f"there is no Delta table in {path}", tried=f"{path}/_delta_log", fix="name its folder")
        self._version: int | None = None

    @property
    def name(self) -> str:
        """The address."""
        return f"delta://{self.path}"

    def open(self, identity: str | None) -> str:
        """``ID@VERSION`` of what is read."""
        with self._readable():
            newest = self._open(None)
            told = f"{newest.metadata().id}@{newest.version()}"
            table, _, version = (identity or told).rpartition("@")
            if table != str(newest.metadata().id):
                raise DataError(f"another table is in {self.path} now", fix="add --restart to begin anew")
            self._version = int(version)
            self._table.version()
        return identity or told

    def names(self) -> list[str]:
        """The names of all columns."""
        return [field.name for field in self._table.schema().fields]

    def count(self) -> int:
        """Told by the files themselves."""
        with self._readable():
            return sum(fragment.count_rows() for fragment in self._files)

    def read(self, columns: Sequence[str], done: int) -> Iterator[pa.Table]:
        """Files of which every row is ``done`` are not read."""
        with self._readable():
            for fragment in self._files:
                rows = fragment.count_rows()
                if done >= rows:
                    done -= rows
                    continue
                yield from self._rows(fragment, columns, done)
                done = 0

    def _rows(self, fragment: Any, columns: Sequence[str], done: int) -> Iterator[pa.Table]:
        for batch in fragment.to_batches(schema=self._dataset.schema, columns=list(columns), batch_size=_ROWS):
            rest = batch.slice(min(done, batch.num_rows))
            done -= batch.num_rows - rest.num_rows
            if rest.num_rows:
                yield pa.Table.from_batches([rest])

    @cached_property
    def _table(self) -> "DeltaTable":
        return self._open(self._version)

    @cached_property
    def _dataset(self) -> Any:
        return self._table.to_pyarrow_dataset()

    @cached_property
    def _files(self) -> list[Any]:
        actions: Any = pa.table(self._table.get_add_actions(flatten=True)).select(["path", "modification_time"])
        came = {row["path"]: row["modification_time"] for row in actions.to_pylist()}
        return sorted(self._dataset.get_fragments(), key=lambda fragment: (came.get(fragment.path, 0), fragment.path))

    def _open(self, version: int | None) -> "DeltaTable":
        from deltalake import DeltaTable

        return DeltaTable(self.path, version=version)

    @contextmanager
    def _readable(self) -> Generator[None]:
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (DeltaError, OSError, OverflowError, pa.ArrowException) as error:
            first = str(error).partition("\n")[0]
            at = "" if self._version is None else f", version {self._version},"
            fix = "see that it was not vacuumed and has no deletion vectors; --restart takes the newest version"
            raise DataError(f"{self.name}{at} cannot be read: {first}", tried=str(self.path), fix=fix) from error


if TYPE_CHECKING:
    _snapshot: Snapshot = DeltaSnapshot(Path())
