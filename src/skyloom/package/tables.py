"""Scores whole Arrow tables."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skyloom.kernel.errors import DataError
from skyloom.package.scorer import Scorer
from skyloom.package.signature import Signature


def columns_of(table: pa.Table, signature: Signature) -> dict[str, NDArray[Any]]:
    """The columns that a model takes, as `Scorer.score` wants them: float64 with NaN for null, or objects with ``None``.

    Raises `DataError` when the table lacks one.
    """
    missing = [name for name in signature.names if name not in table.column_names]
    if missing:
        raise DataError(f"the table has no column {', '.join(missing)}", tried=", ".join(table.column_names))
    return {
        each.name: numbers(table[each.name]) if not each.is_text else texts(table[each.name]) for each in signature.inputs
    }


def score_table(scorer: Scorer, table: pa.Table) -> NDArray[np.float32]:
    """The score of each row; float32 [rows]."""
    return scorer.score(columns_of(table, scorer.signature))


def numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of numbers or conditions as float64, NaN for null; integers beyond 2**53 are rounded to the nearest."""
    return column.cast(pa.float64(), safe=False).to_numpy()


def texts(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of strings as objects, ``None`` for null."""
    return column.cast(pa.string()).to_numpy()
