"""Profiles: how the values of columns are spread over fixed bins. Small, mergeable, made in one pass over Arrow tables."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute
from numpy.typing import NDArray

from skyloom.kernel.errors import DataError

pc: Any = _compute

QUANTILE_BINS = 20
TOP_VALUES = 50
KNOWN_VALUES = 10_000


class Bins(msgspec.Struct, frozen=True):
    """The bins of one column, fixed by its reference.

    A numeric bin ``i`` holds ``edges[i-1] < value <= edges[i]``. A categorical column has a bin for each of ``values`` (the
    50 most frequent), one for ``others`` (values of the reference beyond them) and one for values never seen there.
    """

    numeric: bool
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many bins there are."""
        return len(self.edges) + 1 if self.numeric else len(self.values) + 2


class ColumnProfile(msgspec.Struct, frozen=True):
    """How many values fell into each bin, and how many were missing (null or NaN)."""

    counts: tuple[int, ...]
    missing: int

    @property
    def rows(self) -> int:
        """All rows, the missing ones too."""
        return sum(self.counts) + self.missing

    @property
    def missing_rate(self) -> float:
        """The share of rows without a value."""
        return self.missing / self.rows if self.rows else 0.0


class Profile(msgspec.Struct, frozen=True):
    """The profile of a table, by column."""

    columns: dict[str, ColumnProfile]

    @property
    def rows(self) -> int:
        """How many rows it was made from."""
        return max((column.rows for column in self.columns.values()), default=0)


def bins_of(reference: pa.Table) -> dict[str, Bins]:
    """The bins of every column of a reference: 20 quantile bins for numbers and booleans, the top 50 values for texts.

    >>> bins_of(pa.table({"c": ["a", "b", "a"]}))["c"].values
    ('a', 'b')
    """
    return {name: _bins(reference.column(name)) for name in reference.column_names}


def profile(table: pa.Table, bins: dict[str, Bins]) -> Profile:
    """The profile of the columns that ``bins`` knows. Raises `DataError` when one of them is missing.

    >>> table = pa.table({"c": ["a", "b", "zz", None]})
    >>> profile(table, bins_of(table.slice(0, 2))).columns["c"]
    ColumnProfile(counts=(1, 1, 0, 1), missing=1)
    """
    absent = [name for name in bins if name not in table.column_names]
    if absent:
        raise DataError(f"no column {', '.join(absent)} to profile", tried=", ".join(table.column_names))
    return Profile({name: _count(table.column(name), each) for name, each in bins.items()})


def merge(*profiles: Profile) -> Profile:
    """The profile of all their rows together; all must have been made with the same bins.

    >>> table = pa.table({"x": [1.0, 2.0]})
    >>> one = profile(table, bins_of(table))
    >>> merge(one, one).rows
    4
    """
    names = profiles[0].columns if profiles else {}
    return Profile({name: _merged([each.columns[name] for each in profiles]) for name in names})


def _merged(columns: list[ColumnProfile]) -> ColumnProfile:
    counts = tuple(sum(each) for each in zip(*(column.counts for column in columns), strict=True))
    return ColumnProfile(counts, sum(column.missing for column in columns))


def _bins(column: pa.ChunkedArray) -> Bins:
    if _is_text(column.type):
        counted = pc.value_counts(_texts(column).drop_null()).to_pylist()
        ranked = sorted(counted, key=lambda row: (-row["counts"], row["values"]))
        values = tuple(row["values"] for row in ranked)
        return Bins(False, values=values[:TOP_VALUES], others=values[TOP_VALUES:KNOWN_VALUES])
    known = _numbers(column)
    known = known[~np.isnan(known)]
    if not len(known):
        return Bins(True)
    steps = np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1]
    return Bins(True, edges=tuple(np.unique(np.quantile(known, steps, method="inverted_cdf")).tolist()))


def _count(column: pa.ChunkedArray, bins: Bins) -> ColumnProfile:
    if not bins.numeric:
        return _count_texts(_texts(column), bins)
    values = _numbers(column)
    known = values[~np.isnan(values)]
    found = np.searchsorted(np.asarray(bins.edges), known, side="left")
    counts = np.bincount(found, minlength=bins.count)
    return ColumnProfile(tuple(counts.tolist()), len(values) - len(known))


def _count_texts(column: pa.ChunkedArray, bins: Bins) -> ColumnProfile:
    places = {value: index for index, value in enumerate(bins.values)}
    places.update(dict.fromkeys(bins.others, len(bins.values)))
    counts = [0] * bins.count
    for row in pc.value_counts(column.drop_null()).to_pylist():
        counts[places.get(row["values"], bins.count - 1)] += row["counts"]
    return ColumnProfile(tuple(counts), column.null_count)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string())


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    number = column.cast(pa.int64()) if pa.types.is_boolean(column.type) or pa.types.is_timestamp(column.type) else column
    return number.cast(pa.float64(), safe=False).to_numpy()
