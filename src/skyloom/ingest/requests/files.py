"""Requests from files, in batches of bounded size: every row of them, also those that break the contract, in order."""

import gzip
import json
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skyloom.ingest.contract import check_values, require_columns
from skyloom.ingest.requests.batch import ReadOneByOne, RequestBatch, RequestSource, of_columns
from skyloom.ingest.rows import row_type
from skyloom.ingest.tables import FORMATS, count_rows, ending, files_of, read_pieces
from skyloom.ingest.texts import csv_texts, regrouped, typed
from skyloom.kernel.errors import DataError, NotFound
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import SourceDef

_BLOCK = 65_536


class FileRequests:
    """A file, or those of a folder by their names. Parquet, CSV, NDJSON (also gzipped) or Arrow.

    A file is known by its place, length, time of change and number on its disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = files_of(path)
        self._bound: str | None = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def bind(self, identity: str | None = None) -> str:
        """Names the files as they are now. Raises `DataError` when they were others for ``identity``."""
        self._bound = identity or self._as_they_are()
        self._check()
        return self._bound

    def count(self) -> int:
        """Exact for Parquet, by lines for plain texts, 0 for what is packed."""
        with _readable(self.path):
            return count_rows(self.path)

    def read(self, source: SourceDef, most: int, done: int = 0, mark: str = "") -> Iterator[RequestBatch]:
        """A cell or a line that is not what is declared is a fault of its row."""
        for file in self._files:
            with _readable(file):
                left_out = _in_whole_groups(file, done)
                done -= left_out
                for batch in _READERS[ending(file)](file, source, most, left_out):
                    skipped, done = min(done, len(batch.rows)), max(0, done - len(batch.rows))
                    if skipped < len(batch.rows):
                        yield RequestBatch(batch.rows.slice(skipped), batch.faults[skipped:])
                        self._check()
        self._check()

    def close(self) -> None:
        """Nothing is held."""

    def _as_they_are(self) -> str:
        with _readable(self.path):
            told = [(file, file.stat()) for file in self._files]
        return content_id([[str(file.resolve()), at.st_size, at.st_mtime_ns, at.st_ino] for file, at in told])

    def _check(self) -> None:
        if self._bound is not None and self._as_they_are() != self._bound:
            raise DataError(
                f"{self.path} has changed since its scoring began",
                tried="its length, its time of change, its number on the disk",
                fix="let it be, then add --restart to begin anew",
            )


def _in_whole_groups(path: Path, done: int) -> int:
    """How many of a file's first rows lie in row groups, of Parquet, of which each row is ``done``."""
    if not done or ending(path) != ".parquet":
        return 0
    ends = _ends(path)
    return int(ends[ends <= done].max(initial=0))


def _ends(path: Path) -> npt.NDArray[np.int64]:
    import pyarrow.parquet as pq

    told = pq.read_metadata(path)
    return np.cumsum([told.row_group(group).num_rows for group in range(told.num_row_groups)], dtype=np.int64)


def _parquet(path: Path, source: SourceDef, most: int, left_out: int) -> Iterator[RequestBatch]:
    import pyarrow.parquet as pq

    names = list(source.schema.names)
    with pq.ParquetFile(path) as file:
        require_columns(file.schema_arrow.names, source, str(path))
        several = _row_groups(_ends(path), left_out)
        batches = (
            pa.Table.from_batches([batch])
            for groups in several
            for batch in file.iter_batches(min(most, _BLOCK), row_groups=groups, columns=names)
        )
        for table in regrouped(batches, most):
            yield of_columns(table, source, str(path))


def _row_groups(ends: npt.NDArray[np.int64], left_out: int) -> Iterator[list[int]]:
    """Row groups behind the rows that are left out, a few at a time: what was read of all that are asked for at once stays
    in memory."""
    several: list[int] = []
    begun = left_out
    for group in np.flatnonzero(ends > left_out).tolist():
        several.append(group)
        if ends[group] - begun >= _BLOCK:
            yield several
            several, begun = [], int(ends[group])
    if several:
        yield several


def _arrow(path: Path, source: SourceDef, most: int, _: int) -> Iterator[RequestBatch]:
    for piece in read_pieces(path, source, most):
        yield RequestBatch(piece.rows, check_values(piece.rows, source.schema))


def _csv(path: Path, source: SourceDef, most: int, _: int) -> Iterator[RequestBatch]:
    for texts in regrouped(csv_texts(path, source), most):
        rows, unread = typed(texts, source)
        yield RequestBatch(rows, np.where(unread != "", unread, check_values(rows, source.schema)))


def _lines(path: Path, source: SourceDef, most: int, _: int) -> Iterator[RequestBatch]:
    read = row_type(source.schema).from_wider_json
    with _opened(path) as file:
        reading = ReadOneByOne(source)
        for raw in file:
            line = raw.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                reading.add(read(line))
            except DataError as error:
                reading.add_fault(error, _object(line))
            if len(reading.rows) == most:
                yield reading.take()
        if reading.rows:
            yield reading.take()


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _object(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"no file {path}", fix=f"give the path of a {FORMATS} file, or of a folder of them") from error
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", fix=f"check what writes {path}") from error


_READERS: dict[str, Callable[[Path, SourceDef, int, int], Iterable[RequestBatch]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".ndjson": _lines,
    ".jsonl": _lines,
    ".ndjson.gz": _lines,
    ".jsonl.gz": _lines,
    ".arrow": _arrow,
    ".arrows": _arrow,
    ".feather": _arrow,
}

if TYPE_CHECKING:
    _source: RequestSource = FileRequests(Path())
