"""The columns of X: what they are called and where their values come from."""

from collections.abc import Iterator

import msgspec

from skyloom.kernel.expr import PARTS, Expression, Term, col, columns_of, typed
from skyloom.kernel.records.definitions import FeatureRef, InputDef
from skyloom.kernel.schema import Schema, Type
from skyloom.plan.lookups import column_name, named
from skyloom.spec.features import Feature, Features, Reached
from skyloom.spec.project import Project
from skyloom.spec.source import Columns


def name_of(expression: Expression) -> str | None:
    """The name of an expression in X: a column's own, ``{column}_{part}`` for a part of a time, ``{group}_{feature}`` for a
    windowed feature; ``None`` for any other.

    >>> from skyloom.kernel.expr import part
    >>> name_of(part("hour", "scheduled").expression), name_of((col("a") > 1).expression)
    ('scheduled_hour', None)
    """
    if expression.op == "col":
        return str(expression.value).replace(".", "_")
    if expression.op == "feature":
        return str(expression.value).replace(".", "_", 1)
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
    if isinstance(feature, Reached):
        return names_of(feature.features, project)
    if isinstance(feature, Features):
        group = group_name(feature, project)
        return [f"{group}_{name}" for name in windowed_names(feature)]
    if isinstance(feature, Term) and feature.name is not None:
        return [feature.name]
    return [name for name in map(name_of, expressions_of(feature, project)) if name is not None]


def windowed_names(features: Features) -> list[str]:
    """The names of a group's windowed features, in order, without the group's."""
    return [name for label, aggregate in features.aggregates.items() for name in aggregate.names(label)]


def group_name(features: Features, project: Project) -> str:
    """The variable that holds ``features``."""
    return next(name for name, group in project.groups.items() if group is features)


def feature_types(project: Project) -> dict[str, Type]:
    """The types of all windowed features, by the names that expressions have for them."""
    return {f"{group}.{name}": Type.FLOAT for group, features in project.groups.items() for name in windowed_names(features)}


def inputs_of(feature: Feature, requests: Schema, project: Project) -> Iterator[InputDef]:
    """The columns of X that a feature of a checked project stands for, in order."""
    if isinstance(feature, Reached):
        entity = tuple(column_name(key, project) for key in feature.keys)
        yield from (msgspec.structs.replace(each, entity=entity) for each in inputs_of(feature.features, requests, project))
        return
    if not isinstance(feature, Features):
        for expression, name in zip(expressions_of(feature, project), names_of(feature, project), strict=True):
            yield _input(name, expression, requests, project)
        return
    group = group_name(feature, project)
    for name in windowed_names(feature):
        yield InputDef(f"{group}_{name}", Type.FLOAT, group=group, aggregate=name, entity=feature.by)


def _input(name: str, expression: Expression, requests: Schema, project: Project) -> InputDef:
    """A computed float that is not finite is missing: no model learns from an infinity, and no record in JSON keeps one."""
    references = {name: _reference(name, project) for name in columns_of(expression, "feature")}
    if expression.op == "feature":
        its = references[str(expression.value)]
        return InputDef(name, Type.FLOAT, group=its.group, aggregate=its.aggregate, entity=its.entity)
    columns = {field.name: field.type for field in requests.fields}
    full, kind = typed(expression, columns, feature_types(project))
    if kind is Type.FLOAT and full.op not in ("col", "finite"):
        full = Expression("finite", (full,))
    return InputDef(name, kind, expression=full, reads=tuple(references.values()))


def _reference(name: str, project: Project) -> FeatureRef:
    group, _, aggregate = name.partition(".")
    return FeatureRef(group, aggregate, project.groups[group].by)


def _resolved(term: Term, project: Project) -> Expression:
    """The expression with the names of groups in place of the declarations themselves."""
    names = {token: group_name(group, project) for token, group in term.groups.items() if isinstance(group, Features)}

    def resolve(expression: Expression) -> Expression:
        if expression.op == "feature":
            token, _, aggregate = str(expression.value).partition(".")
            return Expression("feature", value=f"{names[token]}.{aggregate}")
        if expression.op == "col":
            return named(expression, term, project)
        return Expression(expression.op, tuple(map(resolve, expression.args)), expression.value)

    return resolve(term.expression)
