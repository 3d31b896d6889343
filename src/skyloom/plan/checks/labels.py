"""Checks of labels, alone and in their models."""

from collections.abc import Iterator
from typing import Any

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import columns_of, type_of
from skyloom.kernel.schema import Type
from skyloom.plan.checks.problem import Problem, unknown_column
from skyloom.plan.inputs import expressions_of
from skyloom.spec.event import schema_of
from skyloom.spec.label import Label
from skyloom.spec.model import Model
from skyloom.spec.project import Project

_WANTED = {"binary": (Type.BOOL,), "regression": (Type.FLOAT, Type.INT)}
_FIXES = {
    "binary": 'write a condition, such as sky.col("x") > 15, or say task="regression"',
    "regression": 'write a number, such as sky.col("x"), or say task="binary"',
}


def columns_exist(project: Project) -> Iterator[Problem]:
    """What a label names are columns of its source, and its value has a type."""
    for where, label in _labels(project):
        schema = schema_of(label.source.event)
        if columns_of(label.value.expression, "feature"):
            yield Problem(where, "a label is made of windowed features", "make it of columns of its own source")
            continue
        unknown = dict.fromkeys(name for name in (label.on, *columns_of(label.value.expression)) if name not in schema)
        for name in unknown:
            yield unknown_column(where, name, schema)
        if not unknown:
            try:
                type_of(label.value.expression, schema)
            except DeclarationError as error:
                yield Problem(where, error.what, error.fix or "compare numbers with numbers and texts with texts")


def joins_the_key(project: Project) -> Iterator[Problem]:
    """A label's column ``on`` holds the key of the requests of its models."""
    for name, model in project.models.items():
        requests, outcomes, on = schema_of(model.requests.event), schema_of(model.label.source.event), model.label.on
        if not requests.key or on not in outcomes:
            continue
        if model.label.source is model.requests and on != requests.key:
            what = f"requests are their own outcomes, joined on {on!r} instead of their key {requests.key!r}"
            yield Problem(name, what, f'say on="{requests.key}"')
        elif outcomes[on].type is not requests[requests.key].type:
            what = f"the label joins {on!r}, a {outcomes[on].type}, with the key {requests.key!r}"
            yield Problem(name, f"{what}, a {requests[requests.key].type}", "give both columns one type")


def value_fits_task(project: Project) -> Iterator[Problem]:
    """The value is a condition for a binary model, a number for a regression."""
    for name, model in project.models.items():
        try:
            kind = type_of(model.label.value.expression, schema_of(model.label.source.event))
        except DeclarationError:
            continue  # columns_exist says so
        if kind not in _WANTED[model.task]:
            yield Problem(name, f'the label is a {kind}, which task="{model.task}" cannot learn', _FIXES[model.task])


def outcome_is_no_input(project: Project) -> Iterator[Problem]:
    """A model whose requests are their own outcomes does not see the columns that the label is made of."""
    for name, model in project.models.items():
        if model.label.source is model.requests:
            for column in sorted(_seen(model, project) & set(columns_of(model.label.value.expression))):
                what = f"the feature {column!r} is what the label is made of: nobody knows it when the request is made"
                yield Problem(name, what, "take it out of features")


def _seen(model: Model[Any, Any], project: Project) -> set[str]:
    return {column for feature in model.features for e in expressions_of(feature, project) for column in columns_of(e)}


def _labels(project: Project) -> Iterator[tuple[str, Label]]:
    yield from project.labels.items()
    named = {id(label) for label in project.labels.values()}
    for name, model in project.models.items():
        if id(model.label) not in named:
            yield f"the label of {name}", model.label
