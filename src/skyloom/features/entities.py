"""Entities as numbers: rows of one entity have one code, whatever its columns hold."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from skyloom.features.algebra.program import Int64s

NOBODY = -1
"""The code of a row that lacks a part of its entity."""


def entity_codes(columns: Sequence[pa.ChunkedArray]) -> Int64s:
    """A code for each row of the columns that name an entity together, shape [n]: from 0 on, in order of appearance for
    one column; `NOBODY` where a column is null.

    >>> carriers, airports = pa.chunked_array([["UA", "DL", "UA", None]]), pa.chunked_array([[1, 1, 1, 2]])
    >>> entity_codes([carriers]).tolist(), entity_codes([carriers, airports]).tolist()
    ([0, 1, 0, -1], [0, 1, 0, -1])
    """
    codes = _codes(columns[0])
    for column in columns[1:]:
        codes = _together(codes, _codes(column))
    return codes


def _codes(column: pa.ChunkedArray) -> Int64s:
    encoded = column.dictionary_encode()  # one dictionary for all chunks
    indices = pa.chunked_array([chunk.indices for chunk in encoded.chunks], encoded.type.index_type)
    if indices.null_count:
        indices = indices.fill_null(NOBODY)
    return indices.to_numpy().astype(np.int64)


def _together(one: Int64s, other: Int64s) -> Int64s:
    """Codes of pairs. Codes are below 2^31 (Arrow's dictionary indices), so a pair fits 62 bits; then they are made
    small again for the next column."""
    somebody = (one >= 0) & (other >= 0)
    pairs = one * (other.max(initial=0) + 1) + other
    codes = np.full(len(one), NOBODY, np.int64)
    codes[somebody] = np.unique(pairs[somebody], return_inverse=True)[1]
    return codes
