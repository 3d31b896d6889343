"""The columns of X: what they are called and where their values come from."""

from collections.abc import Iterator

from skyloom.kernel.expr import PARTS, Expression, Term, col, type_of
from skyloom.kernel.records.definitions import InputDef
from skyloom.kernel.schema import Schema, Type
from skyloom.plan.windows import windows_of
from skyloom.spec.features import Feature, Features
from skyloom.spec.project import Project
from skyloom.spec.source import Columns


def name_of(expression: Expression) -> str | None:
    """The name of an expression in X: a column's own, ``{column}_{part}`` for a part of a time; ``None`` for any other.

    >>> from skyloom.kernel.expr import part
    >>> name_of(part("hour", "scheduled").expression), name_of((col("a") > 1).expression)
    ('scheduled_hour', None)
    """
    if expression.op == "col":
        return str(expression.value)
    if expression.op in PARTS and expression.args[0].op == "col":
        return f"{expression.args[0].value}_{expression.op}"
    return None


def expressions_of(feature: Feature) -> list[Expression]:
    """The expressions over the request's columns that a feature stands for; none for windowed features."""
    if isinstance(feature, Columns):
        return [col(name).expression for name in feature.names]
    return [feature.expression] if isinstance(feature, Term) else []


def names_of(feature: Feature, project: Project) -> list[str]:
    """The names in X of a feature's columns, in order, duplicates included; those without a name are left out."""
    if isinstance(feature, Features):
        group = group_name(feature, project)
        return [f"{group}_{name}_{text}" for name, agg in feature.aggregates.items() for text in agg.over]
    return [name for name in map(name_of, expressions_of(feature)) if name is not None]


def group_name(features: Features, project: Project) -> str:
    """The variable that holds ``features``."""
    return next(name for name, group in project.groups.items() if group is features)


def inputs_of(feature: Feature, requests: Schema, project: Project) -> Iterator[InputDef]:
    """The columns of X that a feature of a checked project stands for, in order."""
    if not isinstance(feature, Features):
        for expression in expressions_of(feature):
            yield InputDef(str(name_of(expression)), type_of(expression, requests), expression=expression)
        return
    group = group_name(feature, project)
    for name, aggregate in feature.aggregates.items():
        for text, _, _ in windows_of(aggregate):
            windowed = f"{name}_{text}"
            yield InputDef(f"{group}_{windowed}", Type.FLOAT, group=group, aggregate=windowed, entity=feature.by)
