"""Expressions over one row, in plain Python: the tree becomes closures once, and a request calls them."""

import operator
from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from math import isfinite, sqrt
from typing import Any

from skyloom.kernel.expr.tree import COMPARISON, HASH_BITS, PARTS, Expression, Scalar
from skyloom.kernel.expr.zones import END, FIRST, zone
from skyloom.kernel.units import DAY, HOUR, MINUTE, SECOND

Read = Callable[[Any], Any]
Leaf = Callable[[Expression], Read]

_LOW, _HIGH = -(2**63), 2**63 - 1
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_UPPER = {upper + 32: upper for upper in _LOWER}
_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def reader(expression: Expression, leaf: Leaf) -> Read:
    """A function of a row (whatever ``leaf`` reads from) that gives the expression's value; its casts are in it (`typed`).

    ``leaf`` makes the function that reads a column or a looked-up feature. FLOAT values are floats, INT and TIMESTAMP whole
    numbers.

    >>> from skyloom.kernel.expr import col
    >>> read = reader((col("a") / col("b")).expression, lambda leaf: operator.itemgetter("ab".index(leaf.value)))
    >>> read((1, 4)), read((1, 0))
    (0.25, None)
    """
    op = expression.op
    if op in ("col", "feature"):
        return leaf(expression)
    if op == "lit":
        value = expression.value
        return lambda row: value
    args = [reader(arg, leaf) for arg in expression.args]
    if op in PARTS:
        return _known(args[0], _part(op, str(expression.value)))
    if op in COMPARISON:
        return _compared(_PYTHON[op], *args)
    if op in _PYTHON:
        return _arithmetic(_PYTHON[op], *args)
    if op in _MADE:
        return _MADE[op](*args)
    return _known(args[0], _of_one(expression))


def evaluate_row(expression: Expression, row: Mapping[str, Any]) -> Scalar:
    """The value of an expression over one row (times in milliseconds since 1970).

    >>> from skyloom.kernel.expr import part
    >>> evaluate_row(part("hour", "at").expression, {"at": 3_600_000})
    1
    """
    return reader(expression, lambda leaf: operator.itemgetter(leaf.value))(row)


def _known(read: Read, function: Callable[[Any], Any]) -> Read:
    def known(row: Any) -> Any:
        value = read(row)
        return None if value is None else function(value)

    return known


def _arithmetic(function: Callable[[Any, Any], Any], left: Read, right: Read) -> Read:
    def arithmetic(row: Any) -> Any:
        a, b = left(row), right(row)
        if a is None or b is None:
            return None
        value = function(a, b)
        return value if value.__class__ is not int or _LOW <= value <= _HIGH else None

    return arithmetic


def _compared(function: Callable[[Any, Any], bool], left: Read, right: Read) -> Read:
    def compared(row: Any) -> bool | None:
        a, b = left(row), right(row)
        if a is None or b is None:
            return None
        return function(a, b) if a.__class__ is b.__class__ else function(float(a), float(b))

    return compared


def _divided(left: Read, right: Read) -> Read:
    def divided(row: Any) -> float | None:
        a, b = left(row), right(row)
        return None if a is None or b is None or b == 0 else float(a) / float(b)

    return divided


def _both(decides: bool) -> Callable[[Read, Read], Read]:
    def make(left: Read, right: Read) -> Read:
        def logic(row: Any) -> bool | None:
            a, b = left(row), right(row)
            if a is decides or b is decides:
                return decides
            return None if a is None or b is None else not decides

        return logic

    return make


def _first(*args: Read) -> Read:
    def coalesce(row: Any) -> Any:
        for read in args:
            value = read(row)
            if value is not None:
                return value
        return None

    return coalesce


def _where(condition: Read, yes: Read, no: Read) -> Read:
    return lambda row: yes(row) if condition(row) else no(row)


def _extreme(first: Callable[[Any, Any], bool]) -> Callable[[Read, Read], Read]:
    def make(left: Read, right: Read) -> Read:
        def extreme(row: Any) -> Any:
            a, b = left(row), right(row)
            if a is None or b is None:
                return None
            return a if first(a, b) or a != a else b  # noqa: PLR0124  # only NaN differs from itself

        return extreme

    return make


def _bucket(read: Read, *bounds: Read) -> Read:
    edges = [bound(None) for bound in bounds]

    def bucket(row: Any) -> int | None:
        value = read(row)
        if value is None:
            return None
        number = float(value)
        return bisect_right(edges, number) if number == number else None  # noqa: PLR0124  # NaN is in none

    return bucket


def _slice(read: Read, start: Read, stop: Read) -> Read:
    taken = slice(start(None), stop(None))
    return _known(read, lambda text: text[taken])


_MADE: dict[str, Callable[..., Read]] = {
    "/": _divided,
    "and": _both(False),
    "or": _both(True),
    "coalesce": _first,
    "where": _where,
    "least": _extreme(operator.le),
    "greatest": _extreme(operator.ge),
    "bucket": _bucket,
    "slice": _slice,
    "is_null": lambda read: lambda row: read(row) is None,
}


def hash_of(value: str | int, buckets: int) -> int:
    """The bucket of a text or a whole number; see the package for the formula.

    >>> hash_of("1", 10) == hash_of(1, 10)
    True
    """
    return int(sha256(str(value).encode()).hexdigest()[: HASH_BITS // 4], 16) % buckets


def _absolute(value: Any) -> Any:
    return abs(value) if value != _LOW or isinstance(value, float) else None


def _of_one(expression: Expression) -> Callable[[Any], Any]:
    """The function of one known value that an operation stands for."""
    value: Any = expression.value
    functions: dict[str, Callable[[Any], Any]] = {
        "not": operator.not_,
        "abs": _absolute,
        "sqrt": lambda x: sqrt(x) if not x < 0 else None,
        "float": float,
        "finite": lambda x: x if isfinite(x) else None,
        "hash": lambda x: hash_of(x, value),
        "lower": lambda text: text.lower() if text.isascii() else text.translate(_LOWER),
        "upper": lambda text: text.upper() if text.isascii() else text.translate(_UPPER),
        "length": len,
        "contains": lambda text: value in text,
        "startswith": lambda text: text.startswith(value),
        "endswith": lambda text: text.endswith(value),
    }
    return functions[expression.op]


def _part(op: str, tz: str) -> Callable[[int], int | None]:
    if tz == "UTC" and op in _UTC:
        size, modulo, shift = _UTC[op]
        return lambda moment: (moment // size + shift) % modulo if FIRST <= moment < END else None
    here = zone(tz)
    take: Callable[[datetime], int] = datetime.weekday if op == "weekday" else operator.attrgetter(op)

    def part(moment: int) -> int | None:
        return take(datetime.fromtimestamp(moment // SECOND, here)) if FIRST <= moment < END else None

    return part


_UTC = {"second": (SECOND, 60, 0), "minute": (MINUTE, 60, 0), "hour": (HOUR, 24, 0), "weekday": (DAY, 7, 3)}
