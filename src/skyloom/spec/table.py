"""Entity tables: what is known of an entity and changes slowly, such as a customer's country."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Expression, Term, col
from skyloom.spec.source import Source


@dataclass(frozen=True, eq=False, init=False)
class Table:
    """The rows of ``source``, each event being a new version of the row of its entity, which the column ``by`` (or several)
    names. A request sees the newest version, by the event's time, that was there at its moment; nulls when none was.

    A column of it is a feature, ``cards["tier"]``, a part of an expression, and a key: ``customers.of(cards["customer"])``
    is the row of the card's customer, and `Features.of` gives the windows of what a column names. Its name in X is
    ``{table}_{column}``. Raises `DeclarationError` when ``by`` names no column, or one twice.

    >>> import skyloom as sky
    >>> class CardChange(sky.Event):
    ...     id: str = sky.key()
    ...     since: sky.Timestamp = sky.time()
    ...     card: str
    ...     limit: float | None
    >>> cards = sky.Table(sky.Source(CardChange), by="card")
    >>> (sky.col("amount") / cards["limit"]).named("share").name
    'share'
    """

    source: Source
    by: tuple[str, ...]
    row: "Row"

    def __init__(self, source: Source, *, by: str | Sequence[str]) -> None:
        columns = entity_columns(by)
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "by", columns)
        object.__setattr__(self, "row", Row(self, tuple(map(col, columns))))

    def __getitem__(self, name: str) -> Term:
        return self.row[name]

    def of(self, *keys: Term) -> "Row":
        """The row whose key is in other columns: those of the request (``sky.col``) or of another table's row, one for each
        column of ``by``. Raises `DeclarationError` for anything else."""
        return Row(self, require_keys(keys, self.by))


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a table: of the entity that ``keys`` name."""

    table: Table
    keys: tuple[Term, ...]

    def __getitem__(self, name: str) -> Term:
        token = f"@{id(self):x}"
        return Term(Expression("col", value=f"{token}.{name}"), None, {token: self})


def entity_columns(by: str | Sequence[str]) -> tuple[str, ...]:
    """The columns that ``by`` names. Raises `DeclarationError` for none, for one named twice, and for what is no name."""
    given: Any = by
    columns: tuple[Any, ...] = (
        (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list | tuple) else ()
    )
    if not columns or len(set(columns)) < len(columns) or not all(isinstance(each, str) for each in columns):
        raise DeclarationError(f"by={by!r} names no entity", fix="give one column, or several different ones")
    return columns


def require_keys(keys: tuple[Term, ...], by: tuple[str, ...]) -> tuple[Term, ...]:
    """The keys, when they are columns and as many as ``by``. Raises `DeclarationError`."""
    given: tuple[Any, ...] = keys
    if len(given) != len(by) or not all(isinstance(key, Term) and key.expression.op == "col" for key in given):
        raise DeclarationError(
            f"a key is needed for each of {', '.join(by)}",
            fix='give columns, such as .of(cards["customer"]) or .of(sky.col("buyer"))',
        )
    return keys


def rows_of(terms: Sequence[Term]) -> list[Row]:
    """The rows that expressions read, each once and after those that hold its keys."""
    found: dict[int, Row] = {}
    for term in terms:
        for row in term.groups.values():
            if isinstance(row, Row):
                found |= {id(before): before for before in rows_of(row.keys)}
                found[id(row)] = row
    return list(found.values())
