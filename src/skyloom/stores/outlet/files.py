"""Tables put into a file, or into a folder of Parquet files."""

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import msgspec
import pyarrow as pa

from skyloom.kernel.errors import Refused, UsageError
from skyloom.kernel.ids import digest
from skyloom.ports.outlet import Finished, Outlet
from skyloom.stores.files import sync_folder, writable

_MOST, _LINES = 2**20, 2**13


class FileOutlet:
    """A file that ends in one of `ENDINGS`. What is there is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def check(self, schema: pa.Schema) -> None:
        """The folder is there, and can be written."""
        if self.path.is_dir():
            raise UsageError(f"{self.path} is a folder", fix=f"name a file in it, or {self.path}/ for a folder of Parquet")
        _check_folder(self.path)

    def put(self, table: Finished) -> None:
        """Written beside it, brought to the disk, then renamed."""
        scratch = _beside(self.path, table.run)
        try:
            with writable(self.path.parent):
                with _WRITERS[self.path.suffix](scratch, table.schema) as writer:
                    for batch in table.batches():
                        writer.write_batch(batch)
                _sync(scratch)
                os.replace(scratch, self.path)
                sync_folder(self.path.parent)
        finally:
            scratch.unlink(missing_ok=True)


class FolderOutlet:
    """A folder of Parquet files, ``part-00000-RUN.parquet`` and so on, in the order of their names.

    A folder cannot be replaced at once, so that what holds anything is left alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The path, with a slash."""
        return f"{self.path}/"

    def check(self, schema: pa.Schema) -> None:
        """It is not there, or empty."""
        _check_folder(self.path)
        with writable(self.path.parent):
            taken = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        if taken:
            raise Refused(
                f"{self.name} is there already, and a folder cannot be replaced at once",
                fix=f"name another one, or type: rm -r {self.path}",
            )

    def put(self, table: Finished) -> None:
        """Written as a folder beside it, brought to the disk, then renamed. One that holds this run's table is left."""
        if (self.path / _part(0, table.run)).exists():
            return
        self.check(table.schema)
        scratch = _beside(self.path, table.run)
        try:
            with writable(self.path.parent):
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir()
                write_parts(scratch, table)
                sync_folder(scratch)
                os.replace(scratch, self.path)
                sync_folder(self.path.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def write_parts(folder: Path, table: Finished) -> list[tuple[Path, int]]:
    """Parquet files of up to 2**20 rows, on the disk, and how many rows each has; one without rows where there is none.

    The same run writes the same names again.
    """
    batches = table.batches()
    batch, parts = next(batches, None), list[tuple[Path, int]]()
    while batch is not None or not parts:
        path, rows = folder / _part(len(parts), table.run), 0
        with _parquet(path, table.schema) as writer:
            while batch is not None and (rows == 0 or rows + batch.num_rows <= _MOST):
                writer.write_batch(batch)
                rows, batch = rows + batch.num_rows, next(batches, None)
        _sync(path)
        parts.append((path, rows))
    return parts


def _part(number: int, run: str) -> str:
    return f"part-{number:05}-{run}.parquet"


def _beside(path: Path, run: str) -> Path:
    """The same for a run whenever it is asked, so that what a killed process left is written over."""
    return path.with_name(f".{path.stem}.{digest(run.encode())[:16]}{path.suffix}")


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for {path.name}", fix=f"mkdir -p {path.parent}")
    with writable(path.parent):
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(13, "it belongs to somebody else")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


class _Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Generator[_Writer]:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield writer


@contextmanager
def _csv(path: Path, schema: pa.Schema) -> Generator[_Writer]:
    from pyarrow import csv

    with csv.CSVWriter(path, schema) as writer:
        yield writer


@contextmanager
def _arrow(path: Path, schema: pa.Schema) -> Generator[_Writer]:
    with pa.ipc.new_file(path, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        yield writer


@contextmanager
def _lines(path: Path, schema: pa.Schema) -> Generator[_Writer]:
    with path.open("wb") as file:
        yield _Lines(file)


class _Lines:
    """One JSON object a row."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._encoder = file, msgspec.json.Encoder()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        for start in range(0, batch.num_rows, _LINES):
            rows: list[dict[str, Any]] = batch.slice(start, _LINES).to_pylist()
            self._file.write(self._encoder.encode_lines(rows))


_WRITERS: dict[str, Callable[[Path, pa.Schema], Any]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".ndjson": _lines,
    ".jsonl": _lines,
    ".arrow": _arrow,
    ".feather": _arrow,
}
ENDINGS = tuple(_WRITERS)
"""Of the files that can be written."""

if TYPE_CHECKING:
    _outlets: Iterator[Outlet] = iter([FileOutlet(Path()), FolderOutlet(Path())])
