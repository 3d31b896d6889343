"""Aggregates: what is made of the events of an entity that fall into a window."""

from collections.abc import Sequence

import msgspec

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.units import parse_duration


class Aggregate(msgspec.Struct, frozen=True):
    """One kind of aggregate over several windows.

    ``over`` holds the windows' lengths as they were written; ``hop`` is the step by which the windows' tails move
    (chosen by the windows' lengths when ``None``).
    """

    kind: str
    column: str | None
    over: tuple[str, ...]
    hop: str | None


def count(column: str | None = None, *, over: Sequence[str], hop: str | None = None) -> Aggregate:
    """How many events there were, or with ``column`` how many had a value in it.

    >>> count(over=["1h", "24h"]).over
    ('1h', '24h')
    """
    return _aggregate("count", column, over, hop)


def sum(column: str, *, over: Sequence[str], hop: str | None = None) -> Aggregate:
    """The sum of a column, kept in integers scaled by the column's precision, so that every order gives the same bits."""
    return _aggregate("sum", column, over, hop)


def mean(column: str, *, over: Sequence[str], hop: str | None = None) -> Aggregate:
    """The sum of a column over the number of its values; missing when there are none."""
    return _aggregate("mean", column, over, hop)


def min(column: str, *, over: Sequence[str], hop: str | None = None) -> Aggregate:
    """The least value of a column; missing when there is none."""
    return _aggregate("min", column, over, hop)


def max(column: str, *, over: Sequence[str], hop: str | None = None) -> Aggregate:
    """The greatest value of a column; missing when there is none."""
    return _aggregate("max", column, over, hop)


def _aggregate(kind: str, column: str | None, over: Sequence[str], hop: str | None) -> Aggregate:
    if isinstance(over, str) or not over:
        raise DeclarationError(f"{kind}: over={over!r} is no list of windows", fix='write over=["1h"] or over=["1h", "7d"]')
    for text in (*over, *([] if hop is None else [hop])):
        parse_duration(text)
    return Aggregate(kind, column, tuple(over), hop)
