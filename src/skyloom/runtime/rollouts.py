"""How a rollout stands, as people and programs read it: its stages, its guards with their evidence, who serves."""

import math

import msgspec

from skyloom.delivery.canary import SAFE_EVIDENCE, harm, is_safe, safety
from skyloom.delivery.paired import LABEL_LOSS, pairs_harm, pairs_safe, pairs_safety
from skyloom.delivery.rollout import FINISHED, harm_limit_of
from skyloom.kernel.records.definitions import StageDef
from skyloom.kernel.records.release import Guard, Rollout
from skyloom.platform import Platform
from skyloom.registry.champion import champion_of
from skyloom.runtime.control import plan_of, require_rollout

_LARGEST = 700.0


class StageStanding(msgspec.Struct, frozen=True):
    """One stage. ``share`` is in percent of the units; ``state`` is ``passed``, ``now``, ``ahead``, ``ended here``,
    ``not reached``, or ``skipped`` (the first version of a model: there was nothing to compare it with)."""

    kind: str
    share: float
    for_ms: int
    units: int
    state: str


class GuardStanding(msgspec.Struct, frozen=True):
    """One guard: units with a bad event by arm, how many of them all an equal version would have had in the canary
    (``expected``), and the evidence (how many times likelier) for harm and for safety.

    Harm at ``harm_limit`` rolls back; every guard ``safe`` (``safety`` at ``safety_limit``) lets the last stage end.
    """

    name: str
    canary_events: int
    stable_events: int
    expected: float
    harm: float
    harm_limit: float
    safety: float
    safety_limit: float
    safe: bool


class PairStanding(msgspec.Struct, frozen=True):
    """Labels: the mean losses of both versions on the same ``count`` requests (``None``: no label yet), and the evidence."""

    name: str
    count: int
    champion_loss: float | None
    challenger_loss: float | None
    harm: float
    harm_limit: float
    safety: float
    safety_limit: float
    safe: bool


class Standing(msgspec.Struct, frozen=True):
    """A rollout, the champion that serves now, and both lists in order."""

    rollout: Rollout
    serves: int | None
    stages: tuple[StageStanding, ...]
    guards: tuple[GuardStanding, ...]
    pairs: PairStanding


def standing(platform: Platform, model: str) -> Standing:
    """How the last rollout of a model stands. Raises `NotFound` when there was none."""
    rollout = require_rollout(platform, model)
    champion = champion_of(platform.metadata, model)
    stages = plan_of(platform, rollout).stages
    return Standing(
        rollout,
        champion.version if champion else None,
        tuple(stage_standing(rollout, number, stage) for number, stage in enumerate(stages)),
        tuple(guard_standing(guard, harm_limit_of(rollout)) for guard in rollout.guards),
        pair_standing(rollout),
    )


def stage_standing(rollout: Rollout, number: int, stage: StageDef) -> StageStanding:
    """The stage ``number`` (from 0) of a rollout."""
    return StageStanding(stage.kind, stage.share, stage.for_ms, stage.units, _state(rollout, number))


def _state(rollout: Rollout, number: int) -> str:
    if rollout.champion is None:
        return "skipped"
    ended = rollout.state in FINISHED
    if number < rollout.stage or (number == rollout.stage and rollout.state == "promoted"):
        return "passed"
    if number == rollout.stage:
        return "ended here" if ended else "now"
    return "not reached" if ended else "ahead"


def guard_standing(guard: Guard, limit: float) -> GuardStanding:
    """The evidence of one guard, as ratios; ``limit`` is the logarithm at which it rolls back.

    >>> guard_standing(Guard("errors"), math.log(200)).harm_limit
    200.0
    """
    return GuardStanding(
        guard.name,
        guard.canary_events,
        guard.stable_events,
        guard.expected,
        _times(harm(guard)),
        round(_times(limit), 6),
        _times(safety(guard)),
        SAFE_EVIDENCE,
        is_safe(guard),
    )


def pair_standing(rollout: Rollout) -> PairStanding:
    """The evidence of a rollout's paired labels, as ratios."""
    pairs = rollout.pairs
    return PairStanding(
        LABEL_LOSS,
        pairs.count,
        pairs.champion_loss / pairs.count if pairs.count else None,
        pairs.challenger_loss / pairs.count if pairs.count else None,
        _times(pairs_harm(pairs)),
        round(_times(harm_limit_of(rollout)), 6),
        _times(pairs_safety(pairs)),
        SAFE_EVIDENCE,
        pairs_safe(pairs),
    )


def _times(logarithm: float) -> float:
    return math.exp(min(logarithm, _LARGEST))
