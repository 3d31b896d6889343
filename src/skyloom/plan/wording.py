"""Declarations in words."""

from skyloom.kernel.expr import ARITHMETIC, COMPARISON, LOGIC, PARTS, Expression
from skyloom.kernel.ids import nearest


def did_you_mean(name: str, known: list[str]) -> str:
    """A hint that names the nearest names, or all there are.

    >>> did_you_mean("carier", ["dest", "carrier"])
    'did you mean carrier?'
    """
    return f"did you mean {' or '.join(nearest(name, known) or known)}?"


def plural(number: int, noun: str) -> str:
    """A number of things.

    >>> plural(1, "window"), plural(2, "window")
    ('1 window', '2 windows')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def expression_text(expression: Expression) -> str:
    """An expression as it could have been written.

    >>> from skyloom.kernel.expr import col, part
    >>> expression_text((col("delay") > 15).expression), expression_text(part("hour", "at").expression)
    ('(delay > 15)', 'hour(at, UTC)')
    """
    op = expression.op
    if op in ("col", "feature"):
        return str(expression.value)
    if op == "lit":
        return repr(expression.value)
    args = [expression_text(arg) for arg in expression.args]
    if op in PARTS:
        return f"{op}({args[0]}, {expression.value})"
    if op in ARITHMETIC | COMPARISON | LOGIC:
        return f"({f' {op} '.join(args)})"
    return f"{op}({', '.join([*args, *([] if expression.value is None else [repr(expression.value)])])})"
