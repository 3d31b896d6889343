"""Checks of models: their features, names, functions and metrics."""

from collections import Counter
from collections.abc import Iterator

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Term, columns_of, type_of
from skyloom.kernel.schema import Type
from skyloom.plan.checks.problem import Problem, unknown_column
from skyloom.plan.function import complaint_of
from skyloom.plan.inputs import expressions_of, feature_types, names_of
from skyloom.plan.lookups import request_schema
from skyloom.plan.ways import entities_of, group_name
from skyloom.plan.wording import did_you_mean, expression_text
from skyloom.spec.event import schema_of
from skyloom.spec.features import Reached
from skyloom.spec.model import METRICS
from skyloom.spec.project import Project
from skyloom.spec.source import Columns

TAKEN = ("t", "key", "label", "score")
"""Columns that training sets and packaged models have besides X."""

_RENAME = "rename the features, or give each column once"


def has_features(project: Project) -> Iterator[Problem]:
    """A model learns from something."""
    for name, model in project.models.items():
        if not any(names_of(feature, project) or expressions_of(feature, project) for feature in model.features):
            yield Problem(name, "it has no features", "add columns of its requests or windowed features")


def columns_exist(project: Project) -> Iterator[Problem]:
    """Features of the request read columns that the request has."""
    for name, model in project.models.items():
        schema = request_schema(model, project)
        for feature in model.features:
            if isinstance(feature, Columns) and feature.source is not model.requests:
                continue
            for column in (column for e in expressions_of(feature, project) for column in columns_of(e)):
                if column not in schema:
                    yield unknown_column(name, column, schema)


def columns_of_its_requests(project: Project) -> Iterator[Problem]:
    """Columns of another source are not known when the request is made."""
    for name, model in project.models.items():
        for feature in model.features:
            if isinstance(feature, Columns) and feature.source is not model.requests:
                what = f"{', '.join(feature.names)} are columns of another source than its requests"
                yield Problem(name, what, "take them from its requests, or aggregate them with sky.Features")


def columns_have_names(project: Project) -> Iterator[Problem]:
    """An expression that stands as a feature has a name."""
    for name, model in project.models.items():
        for feature in model.features:
            if isinstance(feature, Term) and not names_of(feature, project):
                text = expression_text(expressions_of(feature, project)[0])
                yield Problem(name, f"the feature {text} has no name", 'give it one: (...).named("amount_z")')


def expressions_read_something(project: Project) -> Iterator[Problem]:
    """An expression that stands as a feature is no constant."""
    for name, model in project.models.items():
        for expression in (e for feature in model.features for e in expressions_of(feature, project)):
            if not columns_of(expression) and not columns_of(expression, "feature"):
                yield Problem(name, f"the feature {expression_text(expression)} is a constant", "take it out of features")


def columns_can_be_learned(project: Project) -> Iterator[Problem]:
    """Features of the request are numbers, texts or truths."""
    for name, model in project.models.items():
        schema = request_schema(model, project)
        for expression in (e for feature in model.features for e in expressions_of(feature, project)):
            try:
                kind = type_of(expression, schema, feature_types(expression))
            except DeclarationError as error:
                if all(column in schema for column in columns_of(expression)):
                    yield Problem(
                        name, f"{expression_text(expression)}: {error.what}", error.fix or "take a column that fits"
                    )
                continue
            if kind is Type.TIMESTAMP:
                text = expression_text(expression)
                yield Problem(name, f"the feature {text} is a moment", f'take sky.hour("{text}") or sky.weekday("{text}")')


def entities_are_in_requests(project: Project) -> Iterator[Problem]:
    """The entity of windowed features is in the request: columns of the same names and types."""
    for name, model in project.models.items():
        schema = request_schema(model, project)
        for group, entity in entities_of(model, project):
            where, there = f"{name}, {group_name(group, project)}", schema_of(group.source.event)
            for by, column in zip(group.by, entity, strict=True):
                if by not in there:
                    continue  # the features' own check says so
                if column not in schema:
                    what = f"its requests have no column {column!r} to look the features up by"
                    yield Problem(where, what, did_you_mean(column, list(schema.names)))
                elif there[by].type is not schema[column].type:
                    what = f"{column!r} is a {schema[column].type} in the requests and a {there[by].type} in the events"
                    yield Problem(where, what, "give both columns one type")


def names_once(project: Project) -> Iterator[Problem]:
    """No two features of a model have one name."""
    for name, model in project.models.items():
        counts = Counter(known for feature in model.features for known in set(names_of(feature, project)))
        counts += Counter(n for f in model.features if isinstance(f, Columns) for n in set(f.names) if f.names.count(n) > 1)
        reached = {known for way in model.ways if isinstance(way, Reached) for known in names_of(way, project)}
        for twice, times in counts.items():
            if times > 1:
                fix = 'tell the ways to a group apart: .of(..., prefix="receiver")' if twice in reached else _RENAME
                yield Problem(name, f"several features are called {twice}", fix)


def names_are_free(project: Project) -> Iterator[Problem]:
    """No feature has the name of a column that training sets and packages have anyway."""
    for name, model in project.models.items():
        for taken in (known for feature in model.features for known in names_of(feature, project) if known in TAKEN):
            yield Problem(name, f"a feature cannot be called {taken!r}", f"rename the column; {', '.join(TAKEN)} are taken")


def function_takes_x_and_y(project: Project) -> Iterator[Problem]:
    """The training function can be called with X and y alone."""
    for name, model in project.models.items():
        complaint = complaint_of(model.function)
        if complaint is not None:
            what = f"the function cannot be called as {name}(X, y): {complaint}"
            yield Problem(name, what, f"write def {name}(X, y, *, parameter=default):")


def metrics_exist(project: Project) -> Iterator[Problem]:
    """The metrics are metrics of the task."""
    for name, model in project.models.items():
        for metric in model.metrics:
            if metric not in METRICS[model.task]:
                what = f"{metric!r} is no metric of a {model.task} model"
                yield Problem(name, what, did_you_mean(metric, list(METRICS[model.task])))
