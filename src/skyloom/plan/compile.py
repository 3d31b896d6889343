"""A project's declarations, compiled to the form that is recorded, packaged and served."""

from typing import Any

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import typed
from skyloom.kernel.records.definitions import (
    FeatureGroupDef,
    LabelDef,
    LogbookDef,
    ModelDef,
    ProjectDef,
    SourceDef,
)
from skyloom.kernel.units import parse_duration
from skyloom.plan.checks import Problem, problems
from skyloom.plan.function import parameters_of, reference_of, source_digest
from skyloom.plan.graph import graph_of, order
from skyloom.plan.inputs import inputs_of
from skyloom.plan.lookups import compile_table, lookups_of, request_schema
from skyloom.plan.loops import compile_loop
from skyloom.plan.windows import EXACT, features_of, scales_of
from skyloom.plan.wording import plural
from skyloom.spec.event import schema_of
from skyloom.spec.features import Features
from skyloom.spec.label import Label
from skyloom.spec.model import Model
from skyloom.spec.project import Project
from skyloom.spec.source import Source


def compile_project(project: Project) -> ProjectDef:
    """The definition of a project. Raises one `DeclarationError` that holds every problem that the checks find."""
    found = problems(project)
    if found:
        raise _refusal(found, project.module)
    definition = ProjectDef(
        project.name,
        {name: _source(name, source, project) for name, source in project.sources.items()},
        {name: _group(name, group, project) for name, group in project.groups.items()}
        | {name: compile_table(name, table, _name_of(table.source, project)) for name, table in project.tables.items()},
        {name: _model(name, model, project) for name, model in project.models.items()},
    )
    order(graph_of(definition))
    return definition


def _refusal(found: list[Problem], module: str) -> DeclarationError:
    if len(found) == 1:
        return DeclarationError(f"{module}: {found[0].where}: {found[0].what}", fix=found[0].fix)
    lines = [f"  {problem.where}: {problem.what}; {problem.fix}" for problem in found]
    return DeclarationError("\n".join([f"{plural(len(found), 'problem')} in {module}", *lines]), fix=f"mend {module}")


def _source(name: str, source: Source, project: Project) -> SourceDef:
    delay = 0 if source.delay is None else parse_duration(source.delay)
    doc = (vars(source.event).get("__doc__") or "").strip()
    scales: dict[str, int] = {}
    for group in project.groups.values():
        if group.source is source:
            scales |= scales_of(group)
    limits = {column: EXACT / 10**digits for column, digits in sorted(scales.items())}
    return SourceDef(
        name=name,
        schema=schema_of(source.event),
        table=source.table,
        stream=source.stream,
        delay_ms=delay,
        limits=limits,
        doc=doc,
    )


def _group(name: str, group: Features, project: Project) -> FeatureGroupDef:
    schema = schema_of(group.source.event)
    aggregates = tuple(
        feature for label, aggregate in group.aggregates.items() for feature in features_of(label, aggregate, schema)
    )
    scales, lateness = scales_of(group), parse_duration(group.lateness)
    return FeatureGroupDef(name, _name_of(group.source, project), group.by, aggregates, scales, lateness)


def _model(name: str, model: Model[Any, Any], project: Project) -> ModelDef:
    requests = request_schema(model, project)
    return ModelDef(
        name=name,
        requests=_name_of(model.requests, project),
        inputs=tuple(column for feature in model.features for column in inputs_of(feature, requests, project)),
        label=_label(model.label, project),
        function=reference_of(model.function, project.directory, project.module),
        source_digest=source_digest(model.function),
        parameters=parameters_of(model.function),
        metrics=model.metrics,
        task=model.task,
        loop=compile_loop(model.loop, model.metrics),
        doc=(model.function.__doc__ or "").strip(),
        history=model.history,
        lookups=lookups_of(model, project),
        logbook=LogbookDef(
            sample=model.logbook.sample,
            redact=model.logbook.redact,
            hashed=model.logbook.hashed,
            when_full=model.logbook.when_full,
        ),
        max_latency_ms=parse_duration(model.max_latency) if model.max_latency else 0,
    )


def _label(label: Label, project: Project) -> LabelDef:
    columns = {field.name: field.type for field in schema_of(label.source.event).fields}
    value, _ = typed(label.value.expression, columns, {})
    return LabelDef(_name_of(label.source, project), label.on, value, parse_duration(label.within))


def _name_of(source: Source, project: Project) -> str:
    return next(name for name, known in project.sources.items() if known is source)
