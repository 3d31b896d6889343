"""Loops as they are recorded, with what a project left to us."""

from skyloom.kernel.records.definitions import GateDef, LoopDef, SearchDef, StageDef
from skyloom.spec.loop import Loop, better_than_champion, canary, full

_ROLLOUT = (*canary(1, 5, 25, 50), full())


def gates_of(loop: Loop | None, metrics: tuple[str, ...]) -> tuple[GateDef, ...]:
    """The gates that were declared, or the one that every version must pass: better on the first metric."""
    declared = None if loop is None else loop.gates
    return (better_than_champion(metrics[0]),) if declared is None else tuple(declared)


def stages_of(loop: Loop | None) -> tuple[StageDef, ...]:
    """The stages that were declared, in one row, or the usual ones.

    >>> [stage.kind for stage in stages_of(None)]
    ['canary', 'canary', 'canary', 'canary', 'full']
    """
    if loop is None or loop.rollout is None:
        return _ROLLOUT
    rows = [(part,) if isinstance(part, StageDef) else part for part in loop.rollout]
    return tuple(stage for row in rows for stage in row)


def compile_loop(loop: Loop | None, metrics: tuple[str, ...]) -> LoopDef:
    """The definition of a loop; the one of a model without a loop is all defaults."""
    gates, stages = gates_of(loop, metrics), stages_of(loop)
    if loop is None:
        return LoopDef(gates, stages)
    search = None if loop.search is None else SearchDef(loop.search.trials, loop.search.space)
    budget = loop.budget
    return LoopDef(
        gates,
        stages,
        tuple(loop.retrain),
        search,
        None if budget is None else budget.amount.micros,
        None if budget is None else budget.per,
    )
