"""Expressions over the columns of one row, such as ``col("arr_delay_min") > 15``: one tree, three backends, one answer.

`reader` makes a function of one row in plain Python, `skyloom.kernel.columns.evaluate_columns` works on Arrow tables, and
`skyloom.kernel.expr.sql.select` writes DuckDB's SQL. The semantics, which all three hold bit for bit:

- **Null** in, null out, except ``coalesce``, ``is_null``, ``where`` (an unknown condition is not true: the second value)
  and the three-valued ``and``/``or`` of SQL.
- **Numbers.** ``INT`` has 64 bits and ``FLOAT`` is IEEE binary64; beside a float a whole number is a float, and ``/`` makes
  floats of both. What is no number is null: division by zero, the root of a negative number, a whole number that leaves 64
  bits. (Not an error: what one row of a table is refused, no other row should pay for.) Floats overflow to infinity.
- **NaN** is a float, not a null. Comparisons with it are false, save ``!=``; ``least`` and ``greatest`` give it back; it
  falls into no bucket (null). All NaNs count as one. A computed input of a model that is not finite is missing (``finite``).
- **Texts** are sequences of Unicode code points, compared by code point, never normalised: "\u00e9" and "e\u0301" differ.
  ``length`` and ``slice`` count code points, beyond the basic plane too. ``lower`` and ``upper`` map the letters A to Z and
  nothing else: tables of Unicode differ among engines and versions. ``hash`` is the first 60 bits of the SHA-256 of
  the text (of a whole number: its decimal digits), modulo the buckets.
- **Times** are whole milliseconds since 1970. Their parts are read in a named time zone, UTC by default, for moments from
  1900 to the end of 2199; beyond it is null. The difference of two times is a number of milliseconds.
- No logarithm or power: libraries of mathematics differ in the last bit. Trees need none; else compute it in the function.
"""

from skyloom.kernel.expr.row import evaluate_row, reader
from skyloom.kernel.expr.tree import (
    ARITHMETIC,
    COMPARISON,
    DEEPEST,
    LOGIC,
    PARTS,
    Expression,
    Operand,
    Scalar,
    Term,
    coalesce,
    col,
    columns_of,
    greatest,
    is_number,
    least,
    looked_up,
    part,
    where,
)
from skyloom.kernel.expr.types import type_of, typed
from skyloom.kernel.expr.zones import utc_offset

__all__ = [
    "ARITHMETIC",
    "COMPARISON",
    "DEEPEST",
    "LOGIC",
    "PARTS",
    "Expression",
    "Operand",
    "Scalar",
    "Term",
    "coalesce",
    "col",
    "columns_of",
    "evaluate_row",
    "greatest",
    "is_number",
    "least",
    "looked_up",
    "part",
    "reader",
    "type_of",
    "typed",
    "utc_offset",
    "where",
]
