"""Expressions of a request, computed from given events: as serving computes them, row by row."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from skyloom.kernel.errors import UsageError
from skyloom.kernel.expr import PARTS, Expression, Term, columns_of, reader, typed
from skyloom.kernel.ids import nearest
from skyloom.kernel.schema import Schema, Type

if TYPE_CHECKING:
    from skyloom.spec.features import Features, Reached
    from skyloom.spec.table import Row, Table


class Looks(Protocol):
    """What finds the values of an entity at a moment (ms), by name."""

    def __call__(self, moment: int, features: "Features | Table", *, by: Sequence[Any]) -> dict[str, Any]: ...


def name_of(term: Term) -> str:
    """What an expression is called in X. Raises `UsageError` for one that only its project, or nobody, gives a name.

    >>> from skyloom.kernel.expr import col, part
    >>> name_of(part("hour", "at")), name_of((col("a") + 1).named("more"))
    ('at_hour', 'more')
    """
    expression = term.expression
    if term.name is not None:
        return term.name
    if expression.op == "col" and not term.groups:
        return str(expression.value)
    if expression.op in PARTS and expression.args[0].op == "col" and not term.groups:
        return f"{expression.args[0].value}_{expression.op}"
    raise UsageError("an expression without a name", fix='give it one: (...).named("share")')


def values_of(request: Mapping[str, Any], schema: Schema, terms: Sequence[Term], look: Looks) -> dict[str, Any]:
    """The value of each expression, by its name, for one typed request of ``schema`` at its own time.

    Raises `UsageError` for expressions without names and for keys that the request lacks, and `DeclarationError` for an
    expression that cannot be.
    """
    named = {name_of(term): term for term in terms}
    moment, types = int(request[schema.time]), {field.name: field.type for field in schema.fields}
    return {name: _value(term, _Asked(moment, request, types, look)) for name, term in named.items()}


class _Asked:
    """One request: its columns with their types, and where the rest is found."""

    def __init__(self, moment: int, request: Mapping[str, Any], types: Mapping[str, Type], look: Looks) -> None:
        self.moment, self.row, self.types, self.look = moment, dict(request), dict(types), look
        self.features: dict[str, Type] = {}

    def add(self, token: str, declared: "Features | Reached | Row") -> None:
        """The columns of one declaration: a group's windowed features, or a row of an entity table."""
        from skyloom.spec.event import schema_of
        from skyloom.spec.features import Features, Reached

        if isinstance(declared, Features):
            found = self.look(self.moment, declared, by=[self._column(name) for name in declared.by])
            self.features |= {f"{token}.{name}": Type.FLOAT for name in found}
        elif isinstance(declared, Reached):
            found = self.look(self.moment, declared.features, by=[self._key(key) for key in declared.keys])
            self.features |= {f"{token}.{name}": Type.FLOAT for name in found}
        else:
            found = self.look(self.moment, declared.table, by=[self._key(key) for key in declared.keys])
            kinds = {field.name: field.type for field in schema_of(declared.table.source.event).fields}
            self.types |= {f"{token}.{name}": kinds[name] for name in found}
        self.row |= {f"{token}.{name}": value for name, value in found.items()}

    def _column(self, name: str) -> Any:
        if name not in self.row:
            raise UsageError(
                f"the request has no column {name!r}, which features are by", tried=", ".join(self.row), fix="add it"
            )
        return self.row[name]

    def _key(self, key: Term) -> Any:
        for token, declared in key.groups.items():
            self.add(token, declared)
        return self._column(str(key.expression.value))


def _require_columns(expression: Expression, token: str, row: Mapping[str, Any]) -> None:
    """What an expression reads of a row of a table is there, said without the name that we have for the row."""
    there = [name.removeprefix(f"{token}.") for name in row if name.startswith(f"{token}.")]
    for name in columns_of(expression):
        its, _, column = name.partition(".")
        if its == token and column not in there:
            near = nearest(column, there) or there
            raise UsageError(
                f"the table's rows have no column {column!r}",
                tried=", ".join(there),
                fix=f"did you mean {' or '.join(near)}?",
            )


def _value(term: Term, asked: _Asked) -> Any:
    for token, declared in term.groups.items():
        asked.add(token, declared)
        _require_columns(term.expression, token, asked.row)
    full, kind = typed(term.expression, asked.types, asked.features)
    if kind is Type.FLOAT and full.op not in ("col", "finite"):
        full = Expression("finite", (full,))  # as in X: what is computed and not finite is missing
    return reader(full, lambda leaf: itemgetter(leaf.value))(asked.row)
