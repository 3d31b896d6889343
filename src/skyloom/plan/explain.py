"""Changes in words."""

from collections.abc import Sequence

from skyloom.plan.diff import Change

_SIGNS = {"add": "+", "change": "~", "remove": "-"}


def explain(changes: Sequence[Change]) -> str:
    """One line a change, and under it what follows from it.

    >>> print(explain([Change("change", "features", "recent", "by: a -> b", "rebuilds 3 features")]))
    ~ features recent  by: a -> b
        rebuilds 3 features
    >>> explain([])
    'nothing would change'
    """
    return "\n".join(map(_lines, changes)) or "nothing would change"


def _lines(change: Change) -> str:
    first = f"{_SIGNS[change.kind]} {change.what} {change.name}  {change.detail}".rstrip()
    return f"{first}\n    {change.consequence}"
