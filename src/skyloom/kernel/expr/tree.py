"""The tree of an expression, and the pen that writes it."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Union

import msgspec

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr.zones import zone

Scalar = float | int | str | bool | None
Operand = Union["Term", float, int, str, bool]

ARITHMETIC = {"+", "-", "*", "/"}
COMPARISON = {">", ">=", "<", "<=", "==", "!="}
LOGIC = {"and", "or"}
PARTS = ("second", "minute", "hour", "weekday", "day", "month", "year")
"""The parts of a time."""

HASH_BITS = 60
_MOST_BUCKETS = 2**31
DEEPEST = 200
"""How many operations may stand within each other: what reads a tree goes down as deep, and Python's stack has an end."""
LONGEST = 10_000
"""How many parts an expression may have."""


class Expression(msgspec.Struct, frozen=True):
    """One node: ``op`` with its ``args``; ``value`` is the name of a column or of a feature that is looked up
    (``group.aggregate``), a literal, a time zone or a number of buckets."""

    op: str
    args: tuple["Expression", ...] = ()
    value: float | int | str | bool | None = None


class Term:
    """An expression being written, with Python's operators.

    ``name`` is what it is called as a feature of a model, when it was given a name; ``groups`` are the declarations behind
    its looked-up features, by the part of their names before the dot. ``depth`` is how many operations stand within each
    other in it, at most `DEEPEST`, and ``parts`` how many operations, columns and literals it has, at most `LONGEST`.

    >>> (col("delay") > 15).expression.op
    '>'
    """

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        expression: Expression,
        name: str | None = None,
        groups: Mapping[str, Any] | None = None,
        *,
        depth: int = 0,
        parts: int = 1,
    ) -> None:
        self.expression = expression
        self.name = name
        self.groups: Mapping[str, Any] = groups or {}
        self.depth, self.parts = depth, parts

    def _with(self, op: str, other: Operand) -> "Term":
        return _made(op, self, other)

    def _after(self, op: str, other: Operand) -> "Term":
        return _made(op, other, self)

    def named(self, name: str) -> "Term":
        """The same, as a feature that is called ``name`` in X. Raises `DeclarationError` when that is no name."""
        given: Any = name
        if not isinstance(given, str) or not given.isidentifier():
            raise DeclarationError(f"{name!r} is no name of a feature", fix='write one as in .named("amount_z")')
        return Term(self.expression, name, self.groups, depth=self.depth, parts=self.parts)

    def __add__(self, other: Operand) -> "Term":
        return self._with("+", other)

    def __radd__(self, other: Operand) -> "Term":
        return self._after("+", other)

    def __sub__(self, other: Operand) -> "Term":
        return self._with("-", other)

    def __rsub__(self, other: Operand) -> "Term":
        return self._after("-", other)

    def __mul__(self, other: Operand) -> "Term":
        return self._with("*", other)

    def __rmul__(self, other: Operand) -> "Term":
        return self._after("*", other)

    def __truediv__(self, other: Operand) -> "Term":
        return self._with("/", other)

    def __rtruediv__(self, other: Operand) -> "Term":
        return self._after("/", other)

    def __gt__(self, other: Operand) -> "Term":
        return self._with(">", other)

    def __ge__(self, other: Operand) -> "Term":
        return self._with(">=", other)

    def __lt__(self, other: Operand) -> "Term":
        return self._with("<", other)

    def __le__(self, other: Operand) -> "Term":
        return self._with("<=", other)

    def __eq__(self, other: Operand) -> "Term":  # type: ignore[override]
        return self._with("==", other)

    def __ne__(self, other: Operand) -> "Term":  # type: ignore[override]
        return self._with("!=", other)

    def __and__(self, other: Operand) -> "Term":
        return self._with("and", other)

    def __or__(self, other: Operand) -> "Term":
        return self._with("or", other)

    def __invert__(self) -> "Term":
        return _made("not", self)

    def __bool__(self) -> bool:
        raise DeclarationError(
            "an expression has no truth of its own yet", fix="join conditions with & and |, and put each in brackets"
        )

    def __neg__(self) -> "Term":
        return self._with("*", -1)

    def __abs__(self) -> "Term":
        return _made("abs", self)

    def abs(self) -> "Term":
        """The distance from 0."""
        return _made("abs", self)

    def sqrt(self) -> "Term":
        """The square root; null of a negative number."""
        return _made("sqrt", self)

    def is_null(self) -> "Term":
        """Whether the value is missing."""
        return _made("is_null", self)

    def coalesce(self, other: Operand) -> "Term":
        """The value, or ``other`` where it is missing."""
        return self._with("coalesce", other)

    def bucket(self, bounds: Sequence[float]) -> "Term":
        """How many of the ``bounds`` (finite, ascending) are not above the value: 0 below the first one.

        >>> evaluate = col("age").bucket([18, 65]).expression
        >>> from skyloom.kernel.expr import evaluate_row
        >>> [evaluate_row(evaluate, {"age": age}) for age in (17, 18, 65)]
        [0, 1, 2]
        """
        edges = [float(bound) for bound in bounds if is_number(bound)]
        if not edges or len(edges) < len(bounds) or any(a >= b for a, b in pairwise(edges)):
            raise DeclarationError(f"bucket({bounds!r}) has no ascending bounds", fix="write them as in .bucket([10, 50])")
        return _made("bucket", self, *edges)

    def hash(self, buckets: int) -> "Term":
        """A text or a whole number as a number from 0 to ``buckets`` - 1, the same in every process and for ever."""
        if not 1 < buckets <= _MOST_BUCKETS:
            raise DeclarationError(f"hash({buckets}) has no buckets", fix="give a number from 2 to 2**31")
        return _made("hash", self, value=buckets)

    def lower(self) -> "Term":
        """The text with the letters A to Z in lower case; all others stay."""
        return _made("lower", self)

    def upper(self) -> "Term":
        """The text with the letters a to z in upper case; all others stay."""
        return _made("upper", self)

    def length(self) -> "Term":
        """How many code points the text has."""
        return _made("length", self)

    def contains(self, text: str) -> "Term":
        """Whether ``text`` stands in the text."""
        return _made("contains", self, value=_text("contains", text))

    def startswith(self, text: str) -> "Term":
        """Whether the text begins with ``text``."""
        return _made("startswith", self, value=_text("startswith", text))

    def endswith(self, text: str) -> "Term":
        """Whether the text ends with ``text``."""
        return _made("endswith", self, value=_text("endswith", text))

    def slice(self, start: int, stop: int) -> "Term":
        """The code points from ``start`` to before ``stop``, counted from 0; fewer where the text ends.

        >>> from skyloom.kernel.expr import evaluate_row
        >>> evaluate_row(col("zip").slice(0, 2).expression, {"zip": "90210"})
        '90'
        """
        if not 0 <= start < stop < _MOST_BUCKETS:
            raise DeclarationError(f"slice({start}, {stop}) takes nothing", fix="count from 0, as in .slice(0, 2)")
        return _made("slice", self, start, stop)


def _text(op: str, text: object) -> str:
    if not isinstance(text, str):
        raise DeclarationError(f"{op} looks for a text, not for {text!r}", fix=f'write .{op}("text")')
    return text


def _made(op: str, *operands: Operand, value: Scalar = None) -> Term:
    terms = [each for each in operands if isinstance(each, Term)]
    depth = 1 + max((each.depth for each in terms), default=0)
    parts = 1 + len(operands) - len(terms) + sum(each.parts for each in terms)
    if depth > DEEPEST:
        raise DeclarationError(
            f"an expression is nested more than {DEEPEST} operations deep",
            fix="join halves of a long chain, as in (a + b) + (c + d), or compute it in the training function",
        )
    if parts > LONGEST:
        raise DeclarationError(
            f"an expression has more than {LONGEST:,} parts",
            tried="a part that is used twice counts twice",
            fix="make several features of it, or compute it in the training function",
        )
    groups = {name: group for each in terms for name, group in each.groups.items()}
    return Term(Expression(op, tuple(map(_expression, operands)), value), groups=groups, depth=depth, parts=parts)


def _expression(operand: Operand) -> Expression:
    return operand.expression if isinstance(operand, Term) else Expression("lit", value=operand)


def col(name: str) -> Term:
    """The column ``name`` of the row.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row((col("a") + 1).expression, {"a": 2})
    3
    """
    return Term(Expression("col", value=name))


def looked_up(group: str, aggregate: str, declaration: Any = None) -> Term:
    """A feature that is looked up for the entity of the row."""
    return Term(Expression("feature", value=f"{group}.{aggregate}"), groups={group: declaration})


def where(condition: Operand, yes: Operand, no: Operand) -> Term:
    """``yes`` where the condition holds, ``no`` where it does not or is unknown.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> [evaluate_row(where(col("a") > 1, "much", "little").expression, {"a": a}) for a in (2, None)]
    ['much', 'little']
    """
    return _made("where", condition, yes, no)


def coalesce(first: Operand, *others: Operand) -> Term:
    """The first value that is not missing.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(coalesce(col("a"), col("b"), 0).expression, {"a": None, "b": 2})
    2
    """
    if not others:
        raise DeclarationError("coalesce of one value is that value", fix='write sky.coalesce(sky.col("a"), 0)')
    return _made("coalesce", first, *others)


def least(first: Operand, second: Operand) -> Term:
    """The smaller of two numbers; the first when they are equal, NaN when one of them is."""
    return _made("least", first, second)


def greatest(first: Operand, second: Operand) -> Term:
    """The greater of two numbers; the first when they are equal, NaN when one of them is."""
    return _made("greatest", first, second)


def part(name: str, column: str, tz: str = "UTC") -> Term:
    """One of `PARTS` of a time column in the time zone ``tz``; Monday is weekday 0."""
    try:
        zone(tz)
    except (KeyError, ValueError, OSError) as error:
        raise DeclarationError(f"no time zone is called {tz!r}", fix='name one as "America/New_York" or "UTC"') from error
    return Term(Expression(name, (col(column).expression,), tz))


def columns_of(expression: Expression, op: str = "col") -> tuple[str, ...]:
    """The columns (or with ``op="feature"`` the looked-up features) that an expression reads, each once, in order of use."""
    if expression.op == op:
        return (str(expression.value),)
    return tuple(dict.fromkeys(name for arg in expression.args for name in columns_of(arg, op)))


def is_number(value: object) -> bool:
    """Whether a value is a finite number (a bool is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
