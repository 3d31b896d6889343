"""Rows of requests, of bounded number, and what they are read from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from skyloom.ingest.contract import check_values, conform
from skyloom.ingest.rows import Value
from skyloom.kernel.columns import arrow_schema
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Type

_INT64 = 2**63


class RequestBatch(NamedTuple):
    """``rows`` in the declared columns and types (null where a cell could not be read), ``faults`` [n]: why each row is
    no request, "" when it is one. ``mark`` tells the source where the batch ends, as a text to be kept."""

    rows: pa.Table
    faults: npt.NDArray[np.object_]
    mark: str = ""


class RequestSource(Protocol):
    """Requests in an order that stays. Raises `NotFound`, `DataError`, `UsageError`, `Transient` where it cannot be read."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...

    def bind(self, identity: str | None = None) -> str:
        """Names what will be read: its content now, or (where versions are kept) that of ``identity``.

        Raises `DataError` when the content of ``identity`` is no longer there.
        """
        ...

    def count(self) -> int:
        """About how many rows there are, to show progress; 0 where that is not known before."""
        ...

    def read(self, source: SourceDef, most: int, done: int = 0, mark: str = "") -> Iterator[RequestBatch]:
        """The rows as requests of ``source``, ``most`` at a time, without the first ``done``, which ended at ``mark``.

        Raises `DataError` as soon as it shows that the content is not the one that was bound.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def of_columns(table: pa.Table, source: SourceDef, origin: str) -> RequestBatch:
    """The rows of a table whose columns have types. Raises `DataError` for columns that are not the declared ones."""
    table.validate(full=True)
    rows = conform(table, source, origin)
    return RequestBatch(rows, check_values(rows, source.schema))


class ReadOneByOne:
    """Rows that are read by themselves, in order: each its values, or why not and the key that it seems to have."""

    def __init__(self, source: SourceDef) -> None:
        self._schema = source.schema
        self._target = pa.schema([field.with_nullable(True) for field in arrow_schema(source.schema)])
        self._nothing: tuple[Value, ...] = (None,) * len(source.schema.fields)
        self._key_at = source.schema.names.index(source.schema.key)
        self.rows: list[tuple[Value, ...]] = []
        self._faults: list[str] = []

    def add(self, values: tuple[Value, ...]) -> None:
        """A row that could be read."""
        self.rows.append(values)
        self._faults.append("")

    def add_fault(self, error: DataError, row: object) -> None:
        """A row that could not, as the object that it is."""
        found: dict[str, Any] = row if isinstance(row, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        key = _key(found.get(self._schema.key), self._schema[self._schema.key].type)
        self.rows.append((*self._nothing[: self._key_at], key, *self._nothing[self._key_at + 1 :]))
        self._faults.append(error.what)

    def take(self, mark: str = "") -> RequestBatch:
        """The rows so far, which are forgotten."""
        columns: Sequence[Sequence[Value]] = list(zip(*self.rows, strict=True)) or [()] * len(self._target)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._target, strict=True)]
        table, unread = pa.table(arrays, self._target), np.array(self._faults, dtype=object)
        self.rows, self._faults = [], []
        return RequestBatch(table, np.where(unread != "", unread, check_values(table, self._schema)), mark)


def gathered(batches: Iterable[RequestBatch], most: Callable[[], int]) -> Iterator[RequestBatch]:
    """Small batches put together, up to ``most()`` rows at a time where each has no more; asked before each next one."""
    held: list[RequestBatch] = []
    count = 0
    for batch in batches:
        if held and count + len(batch.rows) > most():
            yield together(held)
            held, count = [], 0
        held.append(batch)
        count += len(batch.rows)
    if held:
        yield together(held)


def together(batches: Sequence[RequestBatch]) -> RequestBatch:
    """The rows of some batches, one after the other."""
    rows = pa.concat_tables([batch.rows for batch in batches])
    return RequestBatch(rows, np.concatenate([batch.faults for batch in batches]), batches[-1].mark)


def _key(value: object, kind: Type) -> Value:
    if kind is Type.STRING and isinstance(value, str):
        return value
    whole = isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64
    return value if kind is Type.INT and whole else None  # pyright: ignore[reportReturnType]
