"""Requests from a file, in batches of bounded size: every row of it, also those that break the contract, in order."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skyloom.ingest.contract import check_values, conform, require_columns
from skyloom.ingest.texts import csv_texts, regrouped, typed
from skyloom.kernel.errors import DataError, NotFound, UsageError
from skyloom.kernel.records.definitions import SourceDef

_BLOCK = 4 * 2**20


class RequestBatch(NamedTuple):
    """``rows`` in the declared columns and types (null where a cell could not be read), ``faults`` [n]: why each row is
    no request, "" when it is one."""

    rows: pa.Table
    faults: npt.NDArray[np.object_]


def count_requests(path: Path) -> int:
    """About how many rows a file holds: exact for Parquet, by lines for CSV. Raises as `read_requests` does."""
    with _readable(path):
        if _is_parquet(path):
            import pyarrow.parquet as pq

            return pq.read_metadata(path).num_rows
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))


def read_requests(path: Path, source: SourceDef, most: int) -> Iterator[RequestBatch]:
    """The rows of a Parquet or CSV file as requests of ``source``, ``most`` at a time.

    A cell of a CSV file that is not of its column's type is a fault of its row. Raises `NotFound`, `UsageError` for a file
    of another kind, `DataError` for one that cannot be read as a whole, or whose columns are not the declared ones.
    """
    with _readable(path):
        for table in regrouped(_parquet(path, source, most) if _is_parquet(path) else csv_texts(path, source), most):
            if _is_parquet(path):
                rows, unread = conform(table, source, str(path)), np.full(len(table), "", dtype=object)
            else:
                rows, unread = typed(table, source)
            yield RequestBatch(rows, np.where(unread != "", unread, check_values(rows, source.schema)))


def _is_parquet(path: Path) -> bool:
    if path.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{path} is neither Parquet nor CSV", fix="name a file that ends in .parquet or .csv")
    return path.suffix == ".parquet"


def _parquet(path: Path, source: SourceDef, most: int) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names: list[str] = file.schema_arrow.names
        require_columns(names, source, str(path))
        for batch in file.iter_batches(most, columns=list(source.schema.names)):
            yield pa.Table.from_batches([batch])


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"no file {path}", fix="give the path of a Parquet or CSV file") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
