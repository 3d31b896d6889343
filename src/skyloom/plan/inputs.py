"""The columns of X: what they are called and where their values come from."""

from collections.abc import Iterator

from skyloom.kernel.expr import PARTS, Expression, Term, col, columns_of, typed
from skyloom.kernel.records.definitions import FeatureRef, InputDef
from skyloom.kernel.schema import Schema, Type
from skyloom.plan.lookups import named
from skyloom.plan.ways import entity_of, group_name, group_of, name_in_x, references_of
from skyloom.spec.features import Feature, Features, Reached
from skyloom.spec.project import Project
from skyloom.spec.source import Columns


def name_of(expression: Expression) -> str | None:
    """The name of an expression in X: a column's own, ``{column}_{part}`` for a part of a time; ``None`` for any other.

    >>> from skyloom.kernel.expr import part
    >>> name_of(part("hour", "scheduled").expression), name_of((col("a") > 1).expression)
    ('scheduled_hour', None)
    """
    if expression.op == "col":
        return str(expression.value).replace(".", "_")
    if expression.op in PARTS and expression.args[0].op == "col":
        return f"{name_of(expression.args[0])}_{expression.op}"
    return None


def expressions_of(feature: Feature, project: Project) -> list[Expression]:
    """The expressions over one row that a feature stands for; none for a group of windowed features."""
    if isinstance(feature, Columns):
        return [col(name).expression for name in feature.names]
    return [_resolved(feature, project)] if isinstance(feature, Term) else []


def names_of(feature: Feature, project: Project) -> list[str]:
    """The names in X of a feature's columns, in order, duplicates included; those without a name are left out."""
    if isinstance(feature, Features | Reached):
        return [name_in_x(feature, name, project) for name in windowed_names(group_of(feature))]
    if isinstance(feature, Term) and feature.name is not None:
        return [feature.name]
    if isinstance(feature, Term) and feature.expression.op == "feature":
        token, _, name = str(feature.expression.value).partition(".")
        return [name_in_x(feature.groups[token], name, project)]
    return [name for name in map(name_of, expressions_of(feature, project)) if name is not None]


def windowed_names(features: Features) -> list[str]:
    """The names of a group's windowed features, in order, without the group's."""
    return [name for label, aggregate in features.aggregates.items() for name in aggregate.names(label)]


def feature_types(expression: Expression) -> dict[str, Type]:
    """The types of the windowed features that an expression reads, by the names that it has for them."""
    return dict.fromkeys(columns_of(expression, "feature"), Type.FLOAT)


def inputs_of(feature: Feature, requests: Schema, project: Project) -> Iterator[InputDef]:
    """The columns of X that a feature of a checked project stands for, in order."""
    if isinstance(feature, Features | Reached):
        group, entity = group_name(feature, project), entity_of(feature, project)
        for name in windowed_names(group_of(feature)):
            yield InputDef(name_in_x(feature, name, project), Type.FLOAT, group=group, aggregate=name, entity=entity)
        return
    reads = references_of(feature, project) if isinstance(feature, Term) else {}
    for expression, name in zip(expressions_of(feature, project), names_of(feature, project), strict=True):
        yield _input(name, expression, requests, tuple(reads.values()))


def _input(name: str, expression: Expression, requests: Schema, reads: tuple[FeatureRef, ...]) -> InputDef:
    """A computed float that is not finite is missing: no model learns from an infinity, and no record in JSON keeps one."""
    if expression.op == "feature":
        return InputDef(name, Type.FLOAT, group=reads[0].group, aggregate=reads[0].aggregate, entity=reads[0].entity)
    columns = {field.name: field.type for field in requests.fields}
    full, kind = typed(expression, columns, feature_types(expression))
    if kind is Type.FLOAT and full.op not in ("col", "finite"):
        full = Expression("finite", (full,))
    return InputDef(name, kind, expression=full, reads=tuple(dict.fromkeys(reads)))


def _resolved(term: Term, project: Project) -> Expression:
    """The expression with the names of groups in place of the declarations themselves."""
    references = references_of(term, project)

    def resolve(expression: Expression) -> Expression:
        if expression.op == "feature":
            return Expression("feature", value=references[str(expression.value)].column)
        if expression.op == "col":
            return named(expression, term, project)
        return Expression(expression.op, tuple(map(resolve, expression.args)), expression.value)

    return resolve(term.expression)
