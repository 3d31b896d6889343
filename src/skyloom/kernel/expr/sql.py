"""Expressions as the SQL of DuckDB: text to be run by whoever has a connection.

Each node of the trees becomes one column of one common table expression, all nodes of equal height in one of them, so that
no operand is written twice and equal parts are computed once.
"""

from collections.abc import Mapping
from typing import Any

from skyloom.kernel.expr.tree import ARITHMETIC, COMPARISON, HASH_BITS, LOGIC, PARTS, Expression
from skyloom.kernel.expr.types import typed
from skyloom.kernel.expr.zones import END, FIRST, changes
from skyloom.kernel.schema import Schema, Type
from skyloom.kernel.units import DAY, HOUR, MINUTE, SECOND

_CYCLE = 146_097 * DAY
"""400 years, which are whole weeks: added to a moment since 1900 they make it positive, and division rounds down."""

_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_CLOCK = {"second": (SECOND, 60), "minute": (MINUTE, 60), "hour": (HOUR, 24)}


def select(
    expressions: Mapping[str, Expression], table: str, schema: Schema, features: Mapping[str, Type] | None = None
) -> str:
    """The query that gives ``expressions``, by name, for each row of ``table`` (an identifier, or a query in brackets).

    Its columns are those of ``schema`` (times as TIMESTAMP WITH TIME ZONE) and ``features`` under their names.
    Raises `DeclarationError` when an expression does not fit them.

    >>> from skyloom.kernel.expr import col
    >>> from skyloom.kernel.schema import Field
    >>> print(select({"twice": (col("a") + col("a")).expression}, "t", Schema((Field("a", Type.FLOAT),), "", "")))
    WITH _0 AS (SELECT "a" AS "_n0" FROM t),
    _1 AS (SELECT *, "_n0" + "_n0" AS "_n1" FROM _0)
    SELECT "_n1" AS "twice" FROM _1
    """
    writer = _Writer({field.name: field.type for field in schema.fields}, features or {})
    names = {name: writer.add(expression) for name, expression in expressions.items()}
    layers = [", ".join(f'{text} AS "{node}"' for node, text in layer) for layer in writer.layers]
    tables = [f"_0 AS (SELECT {layers[0] or '1'} FROM {table})"]
    tables += [f"_{height} AS (SELECT *, {layer} FROM _{height - 1})" for height, layer in enumerate(layers) if height]
    wanted = ", ".join(f'"{node}" AS {identifier(name)}' for name, node in names.items())
    joined = ",\n".join(tables)
    return f"WITH {joined}\nSELECT {wanted} FROM _{len(layers) - 1}"


def identifier(name: str) -> str:
    """A name, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: float | int | str | bool | None) -> str:
    """A literal of SQL.

    >>> literal("it's"), literal(1.5), literal(7), literal(True)
    ("'it''s'", "CAST('1.5' AS DOUBLE)", "CAST('7' AS BIGINT)", 'true')
    """
    if isinstance(value, str):
        pieces = ["'" + piece.replace("'", "''") + "'" for piece in value.split("\0")]
        return pieces[0] if len(pieces) == 1 else f"({' || chr(0) || '.join(pieces)})"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"CAST('{value!r}' AS {'DOUBLE' if isinstance(value, float) else 'BIGINT'})"


class _Writer:
    """Gives every node a column: ``layers[h]`` holds (column, text) of the nodes of height ``h``."""

    def __init__(self, columns: Mapping[str, Type], features: Mapping[str, Type]) -> None:
        self._columns, self._features = columns, features
        self._nodes: dict[str, tuple[str, int]] = {}
        self.layers: list[list[tuple[str, str]]] = [[]]

    def add(self, expression: Expression) -> str:
        return self._node(typed(expression, self._columns, self._features)[0])[0]

    def _node(self, expression: Expression) -> tuple[str, int]:
        key = repr(expression)  # equality would hold 1, 1.0 and True for one
        if key not in self._nodes:
            height, operands = 0, list[str]()
            for arg in expression.args:
                if arg.op == "lit":
                    operands.append(literal(arg.value))
                    continue
                name, below = self._node(arg)
                operands.append(f'"{name}"')
                height = max(height, below + 1)
            kinds = [typed(arg, self._columns, self._features)[1] for arg in expression.args]
            if height == len(self.layers):
                self.layers.append([])
            name = f"_n{len(self._nodes)}"
            self.layers[height].append((name, _text(expression, operands, kinds)))
            self._nodes[key] = name, height
        return self._nodes[key]


def _text(expression: Expression, args: list[str], kinds: list[Type]) -> str:
    op, value = expression.op, expression.value
    if op in ("col", "feature"):
        return identifier(str(value))
    if op == "lit":
        return literal(value)
    if op in PARTS:
        return _part(op, args[0], str(value))
    if op in LOGIC:
        return f"{args[0]} {op.upper()} {args[1]}"
    if op in ARITHMETIC:
        return _arithmetic(op, args, kinds)
    if op in COMPARISON:
        return _compared(op, args, kinds)
    if op in _BY_KIND:
        return _BY_KIND[op](args, kinds)
    return _plain(op, args, value)


def _plain(op: str, args: list[str], value: Any) -> str:
    text = args[0]
    templates = {
        "not": f"NOT {text}",
        "is_null": f"{text} IS NULL",
        "coalesce": f"coalesce({', '.join(args)})",
        "float": f"CAST({text} AS DOUBLE)",
        "finite": f"CASE WHEN isfinite({text}) THEN {text} END",
        "sqrt": f"sqrt(CASE WHEN CAST({text} AS DOUBLE) < 0 THEN NULL ELSE CAST({text} AS DOUBLE) END)",
        "lower": f"translate({text}, '{_UPPER}', '{_LOWER}')",
        "upper": f"translate({text}, '{_LOWER}', '{_UPPER}')",
        "length": f"length({text})",
        "contains": f"contains({text}, {literal(value)})",
        "startswith": f"starts_with({text}, {literal(value)})",
        "endswith": f"ends_with({text}, {literal(value)})",
        "hash": f"CAST('0x' || substr(sha256(CAST({text} AS VARCHAR)), 1, {HASH_BITS // 4}) AS BIGINT) % {value}",
    }
    return templates[op]


def _arithmetic(op: str, args: list[str], kinds: list[Type]) -> str:
    left, right = args
    if kinds[0] is Type.STRING:
        return f"{left} || {right}"
    if op == "/":
        left, right = _float(left, kinds[0]), _float(right, kinds[1])
        return f"{left} / CASE WHEN {right} = 0 THEN NULL ELSE {right} END"
    if kinds[0] is Type.TIMESTAMP:
        left, right = f"epoch_ms({left})", f"epoch_ms({right})"
    elif Type.FLOAT in kinds:
        return f"{_float(left, kinds[0])} {op} {_float(right, kinds[1])}"
    return f"TRY_CAST(CAST({left} AS HUGEINT) {op} CAST({right} AS HUGEINT) AS BIGINT)"


def _compared(op: str, args: list[str], kinds: list[Type]) -> str:
    sign = {"==": "=", "!=": "<>"}.get(op, op)
    left, right = args
    if Type.FLOAT not in kinds:
        return f"{left} {sign} {right}"
    left, right = _float(left, kinds[0]), _float(right, kinds[1])
    unlike = "true" if op == "!=" else "false"
    missing, no_number = f"{left} IS NULL OR {right} IS NULL", f"isnan({left}) OR isnan({right})"
    return f"CASE WHEN {missing} THEN NULL WHEN {no_number} THEN {unlike} ELSE {left} {sign} {right} END"


def _extreme(sign: str, args: list[str], kinds: list[Type]) -> str:
    a, b = args
    missing = f"{a} IS NULL OR {b} IS NULL"
    if kinds[0] is Type.INT:
        return f"CASE WHEN {missing} THEN NULL WHEN {a} {sign} {b} THEN {a} ELSE {b} END"
    return (
        f"CASE WHEN {missing} THEN NULL WHEN isnan({a}) THEN {a} WHEN isnan({b}) THEN {b} "
        f"WHEN {a} {sign} {b} THEN {a} ELSE {b} END"
    )


def _absolute(args: list[str], kinds: list[Type]) -> str:
    if kinds[0] is Type.FLOAT:
        return f"abs({args[0]})"
    return f"abs(CASE WHEN {args[0]} = {literal(-(2**63))} THEN NULL ELSE {args[0]} END)"


def _bucket(args: list[str], kinds: list[Type]) -> str:
    value, bounds = _float(args[0], kinds[0]), args[1:]
    steps = " ".join(f"WHEN {value} < {bound} THEN {number}" for number, bound in enumerate(bounds))
    return f"CAST(CASE WHEN {value} IS NULL OR isnan({value}) THEN NULL {steps} ELSE {len(bounds)} END AS BIGINT)"


def _slice(args: list[str], kinds: list[Type]) -> str:
    text, start, stop = args
    return f"substring({text}, {start} + 1, {stop} - {start})"


_BY_KIND = {
    "least": lambda args, kinds: _extreme("<=", args, kinds),
    "greatest": lambda args, kinds: _extreme(">=", args, kinds),
    "where": lambda args, kinds: f"CASE WHEN {args[0]} THEN {args[1]} ELSE {args[2]} END",
    "abs": _absolute,
    "bucket": _bucket,
    "slice": _slice,
}


def _float(text: str, kind: Type) -> str:
    return text if kind is Type.FLOAT else f"CAST({text} AS DOUBLE)"


def _part(op: str, time: str, tz: str) -> str:
    """A part of a moment, by the clocks' changes themselves: DuckDB's own time zones follow another database of them."""
    moment = f"epoch_ms({time})"
    shown = f"({moment} + {_offset(moment, changes(tz))} + {_CYCLE})"
    if op in _CLOCK:
        size, modulo = _CLOCK[op]
        text = f"{shown} // {size} % {modulo}"
    elif op == "weekday":
        text = f"({shown} // {DAY} + 3) % 7"
    else:
        text = f"extract({op} FROM make_timestamp(({shown} - {_CYCLE}) * 1000))"
    return f"CASE WHEN {moment} >= {FIRST} AND {moment} < {END} THEN {text} END"


def _offset(moment: str, steps: tuple[tuple[int, int], ...]) -> str:
    """The offset at a moment, found by halving the changes."""
    if len(steps) == 1:
        return str(steps[0][1])
    middle = len(steps) // 2
    before, after = _offset(moment, steps[:middle]), _offset(moment, steps[middle:])
    return f"CASE WHEN {moment} < {steps[middle][0]} THEN {before} ELSE {after} END"
