"""One measured figure, its goal, and the table of them."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Figure(NamedTuple):
    """What was measured: ``value`` in ``unit``, the goal (``None``: there is none) and what one can type to see it."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    command: str = ""
    at_least: bool = False
    """Whether the goal is a least value; otherwise it is a most."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; ``None`` without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def middle(values: Sequence[float]) -> float:
    """The median of several runs."""
    return float(median(values))


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(figure: Figure) -> str:
    """A figure as a line of the table."""
    goal = "" if figure.goal is None else f"{'>=' if figure.at_least else '<='} {shown(figure.goal)}"
    met = {True: "met", False: "MISSED", None: ""}[figure.met]
    return f"{figure.name:<58} {shown(figure.value):>10} {figure.unit:<10} {goal:<12} {met:<7} {figure.command}".rstrip()


def shown(value: float) -> str:
    """A number with as many digits as say something.

    >>> shown(0.0876), shown(399.6), shown(1234567.0)
    ('0.0876', '400', '1,234,567')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


HEAD = f"{'what':<58} {'median':>10} {'':<10} {'goal':<12} {'':<7} to see it, type"
