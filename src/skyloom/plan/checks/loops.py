"""Checks of loops: searches, gates and stages."""

import math
from collections.abc import Iterator
from itertools import pairwise

from skyloom.kernel.expr import is_number
from skyloom.kernel.records.definitions import StageDef
from skyloom.kernel.schema import Type
from skyloom.plan.checks.problem import Problem, unknown_column
from skyloom.plan.function import parameters_of
from skyloom.plan.loops import gates_of, stages_of
from skyloom.plan.wording import did_you_mean
from skyloom.spec.event import schema_of
from skyloom.spec.model import HIGHER_IS_BETTER, METRICS
from skyloom.spec.project import Project

_SLICES = (Type.STRING, Type.INT, Type.BOOL)


def search_fits_function(project: Project) -> Iterator[Problem]:
    """What is searched are parameters of the function, with numbers as defaults; whole ones where these are whole."""
    for name, model in project.models.items():
        search = None if model.loop is None else model.loop.search
        numbers = {key: value for key, value in parameters_of(model.function).items() if is_number(value)}
        for parameter, (_, _, _, whole) in (search.space if search is not None else {}).items():
            where = f"{name}, search"
            if parameter not in numbers:
                what = f"the function has no parameter {parameter!r} with a number as its default"
                fix = did_you_mean(parameter, list(numbers)) if numbers else f"write def {name}(X, y, *, {parameter}=0.1):"
                yield Problem(where, what, fix)
            elif isinstance(numbers[parameter], int) and not whole:
                what = f"{parameter} has a whole number as its default, and bounds that are none"
                yield Problem(where, what, f"give whole bounds, such as {parameter}=(8, 128)")


def has_gates(project: Project) -> Iterator[Problem]:
    """What serves was gated."""
    for name, model in project.models.items():
        if not gates_of(model.loop, model.metrics):
            yield Problem(name, "its loop has no gates", f'say gates=[sky.better_than_champion("{model.metrics[0]}")]')


def gates_name_metrics(project: Project) -> Iterator[Problem]:
    """Gates judge metrics of the model's task."""
    for name, model in project.models.items():
        known = METRICS[model.task]
        for gate in gates_of(model.loop, model.metrics):
            if gate.metric is None:
                continue
            if gate.metric not in known:
                what = f"{gate.metric!r} is no metric of a {model.task} model"
                yield Problem(f"{name}, {gate.kind}", what, did_you_mean(gate.metric, list(known)))
            elif gate.kind == "at_least" and gate.metric not in HIGHER_IS_BETTER:
                fix = f'say sky.not_worse_than_champion("{gate.metric}", by=...)'
                yield Problem(f"{name}, {gate.kind}", f"less {gate.metric} is better: a floor says nothing", fix)


def gates_name_columns(project: Project) -> Iterator[Problem]:
    """Slices are made of a column of the request that has few values."""
    for name, model in project.models.items():
        schema = schema_of(model.requests.event)
        for gate in gates_of(model.loop, model.metrics):
            where = f"{name}, {gate.kind}"
            if gate.column is not None and gate.column not in schema:
                yield unknown_column(where, gate.column, schema)
            elif gate.column is not None and schema[gate.column].type not in _SLICES:
                kind = schema[gate.column].type
                yield Problem(where, f"{gate.column!r} is a {kind}: it has no slices", "take a column of str, int or bool")


def gates_have_bounds(project: Project) -> Iterator[Problem]:
    """Margins are finite, and not below zero."""
    for name, model in project.models.items():
        for gate in gates_of(model.loop, model.metrics):
            if not math.isfinite(gate.by) or (gate.by < 0 and gate.kind != "at_least"):
                yield Problem(
                    f"{name}, {gate.kind}", f"by={gate.by} is no margin", "give 0 or more, in the metric's own unit"
                )


def stages_grow(project: Project) -> Iterator[Problem]:
    """A rollout goes from shadow over growing canaries to full, which is last."""
    for name, model in project.models.items():
        where, stages = f"{name}, rollout", stages_of(model.loop)
        shares = [stage.share for stage in stages if stage.kind == "canary"]
        if any(not 0 < share < 100 for share in shares):
            yield Problem(
                where, f"canary shares {_texts(shares)} are not all between 0 and 100", "give percents of the units"
            )
        if any(right <= left for left, right in pairwise(shares)):
            yield Problem(where, f"canary shares {_texts(shares)} do not grow", "say sky.canary(1, 5, 25, 50)")
        if any(abs(share * 100 - round(share * 100)) > 1e-6 for share in shares if math.isfinite(share)):
            yield Problem(where, f"canary shares {_texts(shares)} are finer than 0.01 percent", "give two decimals at most")
        if any(stage.units < 0 for stage in stages):
            yield Problem(where, "a stage cannot wait for a negative number of units", "give units=0 or more")
        if _kinds(stages) not in (["full"], ["shadow", "full"], ["canary", "full"], ["shadow", "canary", "full"]):
            fix = "say rollout=[sky.shadow(...), sky.canary(...), sky.full()], with full() last"
            yield Problem(where, f"the stages go {' -> '.join(_kinds(stages)) or 'nowhere'}", fix)


def _kinds(stages: tuple[StageDef, ...]) -> list[str]:
    """The kinds of the stages in order; canaries that follow each other count once."""
    kinds = [stage.kind for stage in stages]
    return [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if not kind == before == "canary"]


def _texts(shares: list[float]) -> str:
    return ", ".join(f"{share:g}" for share in shares)
