"""Definitions taken apart into named texts, so that two can be compared part by part."""

from collections.abc import Sequence

from skyloom.kernel.money import Money
from skyloom.kernel.records.definitions import (
    LIFETIME,
    AggregateDef,
    FeatureGroupDef,
    GateDef,
    InputDef,
    LogbookDef,
    LoopDef,
    ModelDef,
    SourceDef,
    StageDef,
    TriggerDef,
)
from skyloom.kernel.schema import DEFAULT_PRECISION, Field, Type
from skyloom.kernel.units import format_duration
from skyloom.plan.wording import expression_text, plural


def source_aspects(source: SourceDef) -> dict[str, str]:
    """The parts of a source."""
    return {
        **{f"column {field.name}": _field(field) for field in source.schema.fields},
        "key": source.schema.key,
        "time": source.schema.time,
        "table": source.table or "none",
        "stream": source.stream or "none",
        "delay": format_duration(source.delay_ms),
        **{f"limit of {column}": f"{limit:g}" for column, limit in source.limits.items()},
        "doc": repr(source.doc),
    }


def group_aspects(group: FeatureGroupDef) -> dict[str, str]:
    """The parts of a group of features."""
    return {
        "source": group.source,
        "by": ", ".join(group.by),
        "lateness": format_duration(group.lateness_ms),
        **{f"feature {aggregate.name}": _aggregate(aggregate) for aggregate in group.aggregates},
        **({"columns": ", ".join(group.attributes)} if group.attributes else {}),
        **{f"precision of {column}": plural(scale, "digit") for column, scale in group.scales.items()},
        "doc": repr(group.doc),
    }


def model_aspects(model: ModelDef) -> dict[str, str]:
    """The parts of a model and its loop."""
    label = model.label
    return {
        "requests": model.requests,
        **{f"row {each.name}": f"of {each.group} by {', '.join(each.entity)}" for each in model.lookups},
        **{f"feature {column.name}": _input(column) for column in model.inputs},
        "label": f"{expression_text(label.value)} of {label.source} on {label.on} within {format_duration(label.within_ms)}",
        "task": model.task,
        "history": model.history,
        "metrics": ", ".join(model.metrics),
        "function": f"{model.function} ({model.source_digest[:12]})",
        **{f"parameter {name}": repr(value) for name, value in model.parameters.items()},
        **_loop(model.loop),
        "logbook": _logbook(model.logbook),
        "max_latency": format_duration(model.max_latency_ms) if model.max_latency_ms else "none",
        "doc": repr(model.doc),
    }


def size_of(aggregates: Sequence[AggregateDef]) -> str:
    """How much there is to compute, counted as ``skyloom features`` does: one feature for each window and each entry.

    >>> size_of([AggregateDef("n_1h", "count", None, 3_600_000, 300_000)])
    '1 feature'
    """
    return plural(len(aggregates), "feature")


def _field(field: Field) -> str:
    text = f"{field.type}, may be missing" if field.nullable else str(field.type)
    return (
        f"{text}, {plural(field.precision, 'digit')}"
        if field.type is Type.FLOAT or field.precision != DEFAULT_PRECISION
        else text
    )


def _aggregate(aggregate: AggregateDef) -> str:
    of = "events" if aggregate.column is None else aggregate.column
    window, hop = format_duration(aggregate.window_ms), format_duration(aggregate.hop_ms)
    parts = [
        f"{aggregate.kind} of {of}",
        *([] if aggregate.where is None else [f"where {expression_text(aggregate.where)}"]),
        "over a lifetime" if aggregate.window_ms == LIFETIME else f"over {window} by {hop}",
        *([f"until {format_duration(aggregate.offset_ms)} ago"] if aggregate.offset_ms else []),
        *([f"of size {aggregate.size}"] if aggregate.size else []),
        *([f"entry {aggregate.entry}"] if aggregate.entry else []),
        *([f"at {aggregate.q:g}"] if aggregate.kind == "quantile" else []),
    ]
    return " ".join(parts)


def _input(column: InputDef) -> str:
    if column.expression is not None:
        by = {f"{ref.group} by {', '.join(ref.entity)}": None for ref in column.reads}
        return ", ".join([expression_text(column.expression), *by, str(column.type)])
    return f"{column.aggregate} of {column.group} by {', '.join(column.entity or ())}"


def _loop(loop: LoopDef) -> dict[str, str]:
    search = {} if loop.search is None else {name: str(bounds) for name, bounds in loop.search.space.items()}
    budget = "none" if loop.budget_micros is None else f"{Money(loop.budget_micros)} per {loop.budget_per}"
    return {
        "gates": "; ".join(map(_gate, loop.gates)),
        "rollout": "; ".join(map(_stage, loop.rollout)),
        "retrain": "; ".join(map(_trigger, loop.retrain)) or "never",
        "search": "none" if loop.search is None else plural(loop.search.trials, "trial"),
        **{f"search of {name}": bounds for name, bounds in search.items()},
        "budget": budget,
    }


def _logbook(logbook: LogbookDef) -> str:
    parts = [
        f"{logbook.sample:.10g} of the requests" if logbook.sample < 1 else "all requests",
        *([f"without {', '.join(logbook.redact)}"] if logbook.redact else []),
        *([f"with a hash for {', '.join(logbook.hashed)}"] if logbook.hashed else []),
        f"when full {logbook.when_full}",
    ]
    return ", ".join(parts)


def _gate(gate: GateDef) -> str:
    limit = None if gate.limit_ms is None else f"{gate.limit_ms:g} ms"
    return " ".join(
        part for part in (gate.kind, gate.metric, gate.column, limit, f"{gate.by:g}" if gate.by else None) if part
    )


def _stage(stage: StageDef) -> str:
    share = f" {stage.share:g}%" if stage.kind == "canary" else ""
    wait = "" if stage.kind == "full" else f" for {format_duration(stage.for_ms)} and {plural(stage.units, 'unit')}"
    return f"{stage.kind}{share}{wait}"


def _trigger(trigger: TriggerDef) -> str:
    return f"every {format_duration(trigger.every_ms)}" if trigger.kind == "every" else f"when {trigger.kind}"
