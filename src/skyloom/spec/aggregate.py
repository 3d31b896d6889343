"""Aggregates: what is made of the events of an entity that fall into a window."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import msgspec

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Expression, Term, is_number
from skyloom.kernel.units import parse_duration

LIFETIME_TEXT = "lifetime"
"""A window over all the events that an entity ever had."""

MOST_ENTRIES = 100
MOST_APART = 4_096

_FINEST, _COARSEST = 0.001, 0.25


class Aggregate(msgspec.Struct, frozen=True):
    """One kind of aggregate over several windows.

    ``over`` holds the windows' lengths as they were written; ``hop`` is the step by which the windows' tails move (chosen
    by the windows' lengths when ``None``). ``where`` is what is true of the events that count; ``offset`` moves all windows
    into the past. ``size`` is the number of entries of a list, the number of values that a distinct count tells apart
    exactly, or how many buckets a quantile cuts each power of two into; ``quantiles`` are the shares asked for.
    """

    kind: str
    column: str | None
    over: tuple[str, ...]
    hop: str | None
    where: Expression | None = None
    offset: str | None = None
    size: int = 0
    quantiles: tuple[float, ...] = ()

    def outputs(self) -> Iterator[tuple[str, int, float]]:
        """Its features in one window: what their names have after the aggregate's own, entry (from 1; 0: none), quantile.

        >>> list(last_k("price", 2, over=["1h"]).outputs())
        [('_1', 1, 0.0), ('_2', 2, 0.0)]
        >>> list(quantile("price", [0.5, 0.999], over=["1h"]).outputs())
        [('_p50', 0, 0.5), ('_p99_9', 0, 0.999)]
        >>> list(mean("price", over=["1h"]).outputs())
        [('', 0, 0.0)]
        """
        if self.kind.endswith("_k"):
            yield from ((f"_{entry}", entry, 0.0) for entry in range(1, self.size + 1))
        elif len(self.quantiles) > 1:
            yield from ((f"_p{100 * q:g}".replace(".", "_"), 0, q) for q in self.quantiles)
        else:
            yield "", 0, self.quantiles[0] if self.quantiles else 0.0

    def names(self, label: str) -> list[str]:
        """What its features are called when it is called ``label``: ``{label}_{window}``, for each of several in one window
        ``{label}_{entry}_{window}`` or ``{label}_p{percent}_{window}``.

        >>> top_k("price", 2, over=["1h", "lifetime"]).names("dear")
        ['dear_1_1h', 'dear_2_1h', 'dear_1_lifetime', 'dear_2_lifetime']
        """
        return [f"{label}{part}_{text}" for text in self.over for part, _, _ in self.outputs()]


def count(
    column: str | None = None,
    *,
    over: Sequence[str],
    hop: str | None = None,
    where: Term | None = None,
    offset: str | None = None,
) -> Aggregate:
    """How many events there were, or with ``column`` how many had a value in it.

    This and every other aggregate takes: ``over``, the lengths of its windows, such as ``"7d"``, or ``"lifetime"`` for all
    events there ever were; ``hop``, the step by which tails move; ``where``, a condition on the event's columns: the events
    for which it is false or unknown are left out; ``offset``, such as ``"1d"``: the windows of that much earlier, from
    ``floor(t - offset - window, hop)`` to ``floor(t - offset, hop)``, with what came late to them.

    >>> count(over=["1h", "24h"]).over
    ('1h', '24h')
    """
    return _aggregate("count", column, over, hop, where, offset)


def sum(
    column: str, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The sum of a column, kept in integers scaled by the column's precision, so that every order gives the same bits."""
    return _aggregate("sum", column, over, hop, where, offset)


def mean(
    column: str, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The sum of a column over the number of its values; missing when there are none."""
    return _aggregate("mean", column, over, hop, where, offset)


def min(
    column: str, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The least value of a column; missing when there is none."""
    return _aggregate("min", column, over, hop, where, offset)


def max(
    column: str, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The greatest value of a column; missing when there is none."""
    return _aggregate("max", column, over, hop, where, offset)


def var(
    column: str, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The sample variance of a column (over n - 1), exact and rounded once; missing when there are fewer than two values."""
    return _aggregate("var", column, over, hop, where, offset)


def stddev(
    column: str, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The root of `var`."""
    return _aggregate("stddev", column, over, hop, where, offset)


def first(
    column: str, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The oldest value of a column: of the event with the least (time, offset in the log). A time is told in ms since
    1970."""
    return _aggregate("first", column, over, hop, where, offset, size=1)


def last(
    column: str, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The newest value of a column: of the event with the greatest (time, offset in the log)."""
    return _aggregate("last", column, over, hop, where, offset, size=1)


def first_k(
    column: str, k: int, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The ``k`` oldest values of a column, each a feature of its own, the oldest first; missing where there are fewer."""
    return _aggregate("first_k", column, over, hop, where, offset, size=_entries("first_k", k))


def last_k(
    column: str, k: int, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The ``k`` newest values of a column, each a feature of its own, the newest first."""
    return _aggregate("last_k", column, over, hop, where, offset, size=_entries("last_k", k))


def top_k(
    column: str, k: int, *, over: Sequence[str], hop: str | None = None, where: Term | None = None, offset: str | None = None
) -> Aggregate:
    """The ``k`` greatest values of a column, equal ones as often as they are there, each a feature of its own."""
    return _aggregate("top_k", column, over, hop, where, offset, size=_entries("top_k", k))


def distinct(
    column: str,
    *,
    over: Sequence[str],
    exact: int = 256,
    hop: str | None = None,
    where: Term | None = None,
    offset: str | None = None,
) -> Aggregate:
    """How many different values a column had: exactly up to ``exact`` of them (in a tile and in a window), beyond it an
    estimate with a standard error of 1.6%. Either depends on nothing but the set of the values."""
    if type(exact) is not int or not 1 <= exact <= MOST_APART:
        raise DeclarationError(f"distinct: exact={exact!r}", fix=f"give a whole number from 1 to {MOST_APART}")
    return _aggregate("distinct", column, over, hop, where, offset, size=exact)


def quantile(
    column: str,
    q: float | Sequence[float],
    *,
    over: Sequence[str],
    accuracy: float = 0.01,
    hop: str | None = None,
    where: Term | None = None,
    offset: str | None = None,
) -> Aggregate:
    """The value below which a share ``q`` of a column's values lies: that of rank ``floor(q (n - 1))``, within ``accuracy``
    of itself.

    Several shares are features of their own, named after their percent (``_p50``, ``_p99_9``), and kept but once.
    """
    asked: list[Any] = list(q) if isinstance(q, list | tuple) else [q]
    shares = tuple(float(each) for each in asked if is_number(each))
    if not shares or len(shares) < len(asked) or not all(0.0 <= each <= 1.0 for each in shares):
        raise DeclarationError(f"quantile: q={q!r} is no share", fix="give q=0.5, or several as in q=[0.5, 0.99]")
    if not is_number(accuracy) or not _FINEST <= accuracy <= _COARSEST:
        raise DeclarationError(f"quantile: accuracy={accuracy!r}", fix=f"give one from {_FINEST} to {_COARSEST}")
    parts = ceil((1.0 / accuracy - 1.0) / 2.0)
    made = _aggregate("quantile", column, over, hop, where, offset, size=parts)
    return msgspec.structs.replace(made, quantiles=shares)


def _entries(kind: str, k: int) -> int:
    if type(k) is not int or not 1 <= k <= MOST_ENTRIES:
        raise DeclarationError(f"{kind}: k={k!r}", fix=f"give a whole number from 1 to {MOST_ENTRIES}")
    return k


def _aggregate(
    kind: str,
    column: str | None,
    over: Sequence[str],
    hop: str | None,
    where: Term | None,
    offset: str | None,
    *,
    size: int = 0,
) -> Aggregate:
    if not isinstance(column, str) and (column is not None or kind != "count"):
        raise DeclarationError(f"{kind}: {column!r} names no column", fix=f'write sky.{kind}("amount", ...)')
    if not isinstance(over, list | tuple) or not over:
        raise DeclarationError(f"{kind}: over={over!r} is no list of windows", fix='write over=["1h"] or over=["1h", "7d"]')
    for text in (*over, *(each for each in (hop, offset) if each is not None)):
        if text != LIFETIME_TEXT or text not in over:
            parse_duration(text)
    if offset is not None and LIFETIME_TEXT in over:
        raise DeclarationError(
            f"{kind}: a window over a lifetime has no end in the past",
            tried=f"offset={offset!r}",
            fix="leave offset out, or give windows a length",
        )
    return Aggregate(kind, column, tuple(over), hop, _condition(kind, where), offset, size)


def _condition(kind: str, where: object) -> Expression | None:
    if where is None:
        return None
    if not isinstance(where, Term):
        raise DeclarationError(f"{kind}: where={where!r} is no condition", fix='write where=sky.col("amount") > 100')
    if where.groups:
        raise DeclarationError(
            f"{kind}: a condition looks at the columns of the event alone",
            fix="leave windowed features and tables out of where=",
        )
    return where.expression
