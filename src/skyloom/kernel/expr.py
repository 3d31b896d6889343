"""Expressions over the columns of one row: ``col("arr_delay_min") > 15``.

An `Expression` is data (it is recorded and packaged). `Term` is the pen that writes it. Two evaluators give the same
answer: `evaluate_row` in plain Python for one request, `skyloom.kernel.columns.evaluate_columns` for Arrow tables.

Semantics: null in, null out, except ``coalesce``, ``is_null`` and the three-valued ``and``/``or`` of SQL. Division by zero
is null. Comparisons with NaN are false, save ``!=``. Whole numbers have 64 bits and wrap around; beside a float they are
floats, and ``/`` makes floats of both. Times are taken apart in a named time zone, UTC by default.
"""

import math
import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Union
from zoneinfo import ZoneInfo

import msgspec

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.ids import nearest
from skyloom.kernel.schema import Schema, Type

Scalar = float | int | str | bool | None
Operand = Union["Term", float, int, str, bool]

ARITHMETIC = {"+", "-", "*", "/"}
COMPARISON = {">", ">=", "<", "<=", "==", "!="}
LOGIC = {"and", "or"}
PARTS = {"hour", "weekday", "day", "month"}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Expression(msgspec.Struct, frozen=True):
    """One node: ``op`` with its ``args``; ``value`` is a column's name, a literal or a time zone."""

    op: str
    args: tuple["Expression", ...] = ()
    value: float | int | str | bool | None = None


class Term:
    """An expression being written, with Python's operators.

    >>> (col("delay") > 15).expression.op
    '>'
    """

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __init__(self, expression: Expression) -> None:
        self.expression = expression

    def _with(self, op: str, other: Operand) -> "Term":
        return Term(Expression(op, (self.expression, _expression(other))))

    def _after(self, op: str, other: Operand) -> "Term":
        return Term(Expression(op, (_expression(other), self.expression)))

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
        return Term(Expression("not", (self.expression,)))

    def __bool__(self) -> bool:
        raise DeclarationError(
            "an expression has no truth of its own yet", fix="join conditions with & and |, and put each in brackets"
        )

    def is_null(self) -> "Term":
        """Whether the value is missing."""
        return Term(Expression("is_null", (self.expression,)))

    def coalesce(self, other: Operand) -> "Term":
        """The value, or ``other`` where it is missing."""
        return self._with("coalesce", other)


def _expression(operand: Operand) -> Expression:
    return operand.expression if isinstance(operand, Term) else Expression("lit", value=operand)


def col(name: str) -> Term:
    """The column ``name`` of the row.

    >>> evaluate_row((col("a") + 1).expression, {"a": 2})
    3
    """
    return Term(Expression("col", value=name))


def part(name: str, column: str, tz: str = "UTC") -> Term:
    """A part (``hour``, ``weekday``, ``day``, ``month``) of a time column in the time zone ``tz``; Monday is weekday 0."""
    try:
        ZoneInfo(tz)
    except (KeyError, ValueError, OSError) as error:
        raise DeclarationError(f"no time zone is called {tz!r}", fix='name one as "America/New_York" or "UTC"') from error
    return Term(Expression(name, (col(column).expression,), tz))


def columns_of(expression: Expression) -> tuple[str, ...]:
    """The columns that an expression reads, each once, in order of first use."""
    if expression.op == "col":
        return (str(expression.value),)
    return tuple(dict.fromkeys(name for arg in expression.args for name in columns_of(arg)))


def type_of(expression: Expression, schema: Schema) -> Type:
    """The type of an expression over rows of ``schema``.

    Raises `DeclarationError` for an unknown column (with the nearest names) or operands that do not fit.
    """
    op, value = expression.op, expression.value
    if op == "col":
        return _column_type(str(value), schema)
    if op == "lit":
        return _literal_type(value)
    kinds = [type_of(arg, schema) for arg in expression.args]
    if op in PARTS:
        _require(kinds[0] is Type.TIMESTAMP, f"{op} needs a time, not a {kinds[0]}")
        return Type.INT
    if op in COMPARISON:
        numeric = all(kind in (Type.INT, Type.FLOAT) for kind in kinds)
        _require(numeric or kinds[0] is kinds[1], f"a {kinds[0]} cannot be compared with a {kinds[1]}")
        return Type.BOOL
    if op in LOGIC or op == "not":
        _require(all(kind is Type.BOOL for kind in kinds), f"{op} needs conditions, not {_list(kinds)}")
        return Type.BOOL
    if op == "is_null":
        return Type.BOOL
    if op == "coalesce":
        _require(kinds[0] is kinds[1], f"coalesce needs one type, not a {kinds[0]} and a {kinds[1]}")
        return kinds[0]
    _require(all(kind in (Type.INT, Type.FLOAT) for kind in kinds), f"{op} needs numbers, not {_list(kinds)}")
    return Type.INT if op != "/" and all(kind is Type.INT for kind in kinds) else Type.FLOAT


def _column_type(name: str, schema: Schema) -> Type:
    if name in schema:
        return schema[name].type
    near = nearest(name, list(schema.names)) or list(schema.names)
    raise DeclarationError(
        f"there is no column {name!r}", tried=", ".join(schema.names), fix=f"did you mean {' or '.join(near)}?"
    )


def _literal_type(value: object) -> Type:
    if value is None:
        raise DeclarationError("nothing is equal to None, nor above or below it", fix='ask col("...").is_null()')
    known: dict[type, Type] = {bool: Type.BOOL, int: Type.INT, float: Type.FLOAT, str: Type.STRING}
    _require(type(value) in known, f"{value!r} cannot stand in an expression: it is no text, number, True or False")
    _require(type(value) is not int or -(2**63) <= value < 2**63, f"{value} does not fit into 64 bits")
    return known[type(value)]


def _list(kinds: list[Type]) -> str:
    return " and ".join(f"a {kind}" for kind in kinds)


def _require(fits: bool, complaint: str) -> None:
    if not fits:
        raise DeclarationError(complaint)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _local(moment_ms: int, tz: str) -> datetime:
    return (_EPOCH + timedelta(milliseconds=moment_ms)).astimezone(_zone(tz))


def utc_offset(moment_ms: int, tz: str) -> int:
    """How far the clocks of the time zone ``tz`` are ahead of UTC at a moment, in milliseconds.

    >>> utc_offset(0, "America/New_York") / 3_600_000
    -5.0
    """
    return (_local(moment_ms, tz).utcoffset() or timedelta()) // timedelta(milliseconds=1)


def _part_of(op: str, moment_ms: int, tz: str) -> int:
    moment = _local(moment_ms, tz)
    return moment.weekday() if op == "weekday" else getattr(moment, op)


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_COMPARISON: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def _binary(op: str, left: Any, right: Any) -> Scalar:
    if op == "/":
        return None if right == 0 else float(left) / float(right)
    if isinstance(left, float) or isinstance(right, float):
        left, right = float(left), float(right)
    if op in COMPARISON:
        return _COMPARISON[op](left, right)
    value = _ARITHMETIC[op](left, right)
    return value if isinstance(value, float) else (value + 2**63) % 2**64 - 2**63


def evaluate_row(expression: Expression, row: Mapping[str, Any]) -> Scalar:
    """The value of an expression over one row (times in milliseconds since 1970).

    >>> evaluate_row(part("hour", "at").expression, {"at": 3_600_000})
    1
    """
    op = expression.op
    if op == "col":
        return row[expression.value]  # type: ignore[index]
    if op == "lit":
        return expression.value
    if op in LOGIC:
        return _logic(op, evaluate_row(expression.args[0], row), evaluate_row(expression.args[1], row))
    values = [evaluate_row(arg, row) for arg in expression.args]
    if op == "is_null":
        return values[0] is None
    if op == "coalesce":
        return values[1] if values[0] is None else values[0]
    if any(value is None for value in values):
        return None
    if op == "not":
        return not values[0]
    if op in PARTS:
        return _part_of(op, int(values[0]), str(expression.value))  # type: ignore[arg-type]
    return _binary(op, values[0], values[1])


def _logic(op: str, left: Scalar, right: Scalar) -> Scalar:
    decides = op == "or"
    if left is decides or right is decides:
        return decides
    return None if left is None or right is None else not decides


def is_number(value: object) -> bool:
    """Whether a value is a finite number (a bool is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
