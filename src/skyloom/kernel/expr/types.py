"""The types of expressions, and the casts that they need."""

from collections.abc import Callable, Mapping

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr.tree import ARITHMETIC, COMPARISON, LOGIC, PARTS, Expression, is_number
from skyloom.kernel.ids import nearest
from skyloom.kernel.schema import Schema, Type

NUMBERS = (Type.INT, Type.FLOAT)
Kinds = list[Type]


def type_of(expression: Expression, schema: Schema, features: Mapping[str, Type] | None = None) -> Type:
    """The type of an expression over rows of ``schema`` and over ``features`` that are looked up, by name.

    Raises `DeclarationError` for an unknown column (with the nearest names) or operands that do not fit.
    """
    return typed(expression, {field.name: field.type for field in schema.fields}, features or {})[1]


def typed(expression: Expression, columns: Mapping[str, Type], features: Mapping[str, Type]) -> tuple[Expression, Type]:
    """The expression with a cast wherever one of several alternatives is a whole number beside a float; and its type.

    Raises as `type_of`.

    >>> from skyloom.kernel.expr import coalesce, col
    >>> typed(coalesce(col("a"), 0).expression, {"a": Type.FLOAT}, {})[0].args[1].value
    0.0
    """
    op, value = expression.op, expression.value
    if op == "col":
        return expression, _known(str(value), columns, "column")
    if op == "feature":
        return expression, _known(str(value), features, "feature")
    if op == "lit":
        return expression, _literal_type(value)
    pairs = [typed(arg, columns, features) for arg in expression.args]
    args, kinds = [arg for arg, _ in pairs], [kind for _, kind in pairs]
    kind = _rule(op)(op, kinds)
    if op in ALTERNATIVES and kind is Type.FLOAT:
        args = [_as_float(arg) if its is Type.INT else arg for arg, its in zip(args, kinds, strict=True)]
    same = all(arg is old for arg, old in zip(args, expression.args, strict=True))
    return expression if same else Expression(op, tuple(args), value), kind


def _rule(op: str) -> Callable[[str, Kinds], Type]:
    if op in PARTS:
        return _part
    if op in COMPARISON:
        return _compared
    if op in LOGIC or op == "not":
        return _condition
    if op in ARITHMETIC:
        return _arithmetic
    if op not in _RULES:
        raise DeclarationError(f"{op!r} is no operation", tried=", ".join(_RULES))
    return _RULES[op]


def _part(op: str, kinds: Kinds) -> Type:
    _require(kinds[0] is Type.TIMESTAMP, f"{op} needs a time, not a {kinds[0]}")
    return Type.INT


def _compared(op: str, kinds: Kinds) -> Type:
    numeric = all(kind in NUMBERS for kind in kinds)
    _require(numeric or kinds[0] is kinds[1], f"a {kinds[0]} cannot be compared with a {kinds[1]}")
    return Type.BOOL


def _condition(op: str, kinds: Kinds) -> Type:
    _require(all(kind is Type.BOOL for kind in kinds), f"{op} needs conditions, not {_list(kinds)}")
    return Type.BOOL


def _arithmetic(op: str, kinds: Kinds) -> Type:
    if op == "+" and all(kind is Type.STRING for kind in kinds):
        return Type.STRING
    if op == "-" and all(kind is Type.TIMESTAMP for kind in kinds):
        return Type.INT
    _require(all(kind in NUMBERS for kind in kinds), f"{op} needs numbers, not {_list(kinds)}")
    return Type.INT if op != "/" and all(kind is Type.INT for kind in kinds) else Type.FLOAT


def _alternatives(op: str, kinds: Kinds) -> Type:
    _require(len(set(kinds)) == 1 or all(kind in NUMBERS for kind in kinds), f"{op} needs one type, not {_list(kinds)}")
    return kinds[0] if len(set(kinds)) == 1 else Type.FLOAT


def _where(op: str, kinds: Kinds) -> Type:
    _require(kinds[0] is Type.BOOL, f"where needs a condition, not a {kinds[0]}")
    return _alternatives(op, kinds[1:])


def _extreme(op: str, kinds: Kinds) -> Type:
    _require(all(kind in NUMBERS for kind in kinds), f"{op} needs numbers, not {_list(kinds)}")
    return _alternatives(op, kinds)


def _of(*fit: Type, gives: Type | None = None) -> Callable[[str, Kinds], Type]:
    def rule(op: str, kinds: Kinds) -> Type:
        wanted = " or ".join(f"a {kind}" for kind in fit)
        _require(kinds[0] in fit, f"{op} needs {wanted}, not a {kinds[0]}")
        return kinds[0] if gives is None else gives

    return rule


_RULES: dict[str, Callable[[str, Kinds], Type]] = {
    "is_null": lambda op, kinds: Type.BOOL,
    "coalesce": _alternatives,
    "where": _where,
    "least": _extreme,
    "greatest": _extreme,
    "abs": _of(*NUMBERS),
    "sqrt": _of(*NUMBERS, gives=Type.FLOAT),
    "float": _of(*NUMBERS, gives=Type.FLOAT),
    "finite": _of(Type.FLOAT),
    "bucket": _of(*NUMBERS, gives=Type.INT),
    "hash": _of(Type.STRING, Type.INT, gives=Type.INT),
    "lower": _of(Type.STRING),
    "upper": _of(Type.STRING),
    "slice": _of(Type.STRING),
    "length": _of(Type.STRING, gives=Type.INT),
    "contains": _of(Type.STRING, gives=Type.BOOL),
    "startswith": _of(Type.STRING, gives=Type.BOOL),
    "endswith": _of(Type.STRING, gives=Type.BOOL),
}
ALTERNATIVES = ("coalesce", "where", "least", "greatest")


def _as_float(expression: Expression) -> Expression:
    if expression.op == "lit" and isinstance(expression.value, int):
        return Expression("lit", value=float(expression.value))
    return Expression("float", (expression,))


def _known(name: str, known: Mapping[str, Type], noun: str) -> Type:
    if name in known:
        return known[name]
    near = nearest(name, list(known)) or list(known)
    raise DeclarationError(f"there is no {noun} {name!r}", tried=", ".join(known), fix=f"did you mean {' or '.join(near)}?")


def _literal_type(value: object) -> Type:
    if value is None:
        raise DeclarationError("nothing is equal to None, nor above or below it", fix='ask col("...").is_null()')
    known: dict[type, Type] = {bool: Type.BOOL, int: Type.INT, float: Type.FLOAT, str: Type.STRING}
    _require(type(value) in known, f"{value!r} cannot stand in an expression: it is no text, number, True or False")
    if isinstance(value, int):
        _require(-(2**63) <= value < 2**63, f"{value} does not fit into 64 bits")
    if isinstance(value, float):
        _require(is_number(value), f"{value} is no number to reckon with")
    if isinstance(value, str):
        _require(not any("\ud800" <= letter <= "\udfff" for letter in value), f"{value!r} is no Unicode text")
    return known[type(value)]


def _list(kinds: Kinds) -> str:
    return " and ".join(f"a {kind}" for kind in kinds)


def _require(fits: bool, complaint: str) -> None:
    if not fits:
        raise DeclarationError(complaint)
