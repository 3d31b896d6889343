"""A rollout as a state machine: shadow, growing shares of canary, full. State and outcomes in, decision out.

    shadow ──> canary 1% ──> 5% ──> 25% ──> 50% ──> promoted
       │          │  └── sample ratio, timeout ──> held ──> (harm) rolled_back, or a person decides
       └──────────┴── harm ──> rolled_back

The evidence adds up over the stages. Nothing is promoted for want of evidence.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from skyloom.delivery.canary import (
    FALSE_ROLLBACK,
    WRONG_LABEL,
    Limits,
    harm,
    harm_limit,
    is_harmful,
    is_safe,
    shadow_harm,
    shares_broken,
)
from skyloom.delivery.evidence import RolloutMemory, absorb
from skyloom.delivery.paired import LABEL_LOSS, pairs_harm, pairs_safe
from skyloom.kernel.records.definitions import StageDef
from skyloom.kernel.records.prediction import Outcome
from skyloom.kernel.records.release import Guard, Rollout

DAY_MS = 86_400_000
DEFAULT_UNITS = 20
"""Units that a stage waits for: enough to see a version that breaks a third of them; the last stage asks for evidence."""
FINISHED = frozenset({"promoted", "rolled_back", "aborted"})


class Plan(msgspec.Struct, frozen=True):
    """How a rollout goes: its stages, what is bad, and how long one stage may stay undecided."""

    stages: tuple[StageDef, ...]
    limits: Limits
    timeout_ms: int = 7 * DAY_MS


class Decision(msgspec.Struct, frozen=True):
    """The rollout as it stands now, and what to do: ``none``, ``set_share``, ``promote``, ``roll_back`` or ``hold``."""

    rollout: Rollout
    action: str


def begin(rollout: Rollout, plan: Plan) -> Decision:
    """Enter the first stage. Without a champion there is nothing to compare with: the gates alone have promoted it.

    ``rollout`` needs ``id``, ``model``, ``champion``, ``challenger``, ``salt``, ``started_ms`` and ``start``.
    """
    fresh = msgspec.structs.replace(
        rollout,
        guards=tuple(Guard(name) for name in plan.limits.guards),
        position=rollout.start,
        last_ms=rollout.started_ms,
    )
    if rollout.champion is None:
        return Decision(finish(fresh, "promoted", "the first version: its gates passed and nothing serves yet"), "promote")
    return _enter(fresh, plan, 0)


def step(
    rollout: Rollout,
    memory: RolloutMemory,
    outcomes: Iterable[Outcome],
    plan: Plan,
    shares: Mapping[str, int],
    now_ms: int,
) -> Decision:
    """Judge the next outcomes (those from ``rollout.position`` on), then let time pass until ``now_ms``.

    ``shares`` maps the releases that answered to the canary's share in them (see `skyloom.delivery.release.canary_share`).
    However the outcomes are cut into calls, the result is the same. After the end nothing is judged any more.
    """
    action = "none"
    for outcome in outcomes:
        if rollout.state in FINISHED:
            break
        moment = outcome.at_ms if outcome.labelled_ms is None else outcome.labelled_ms
        judged = absorb(rollout, memory, outcome, plan.limits, shares)
        judged = msgspec.structs.replace(
            judged,
            position=rollout.position + 1,
            last_ms=max(rollout.last_ms, moment),
            stage_units=memory.units_at(share_of(judged, plan)),
        )
        decision = _decide(judged, plan)
        rollout, action = decision.rollout, action if decision.action == "none" else decision.action
    if rollout.state not in FINISHED and now_ms > rollout.last_ms:
        decision = _decide(msgspec.structs.replace(rollout, last_ms=now_ms), plan)
        rollout, action = decision.rollout, action if decision.action == "none" else decision.action
    return Decision(rollout, action)


def share_of(rollout: Rollout, plan: Plan) -> int:
    """The canary's share (of 10,000) that the rollout asks for now: 0 in the shadow and once it has ended."""
    if rollout.state in FINISHED or rollout.stage >= len(plan.stages) or plan.stages[rollout.stage].kind != "canary":
        return 0
    return round(plan.stages[rollout.stage].share * 100)


def finish(rollout: Rollout, state: str, reason: str) -> Rollout:
    """End a rollout: ``promoted``, ``rolled_back`` or ``aborted``, by the judge or by a person."""
    return msgspec.structs.replace(rollout, state=state, reason=reason, finished_ms=rollout.last_ms)


def _decide(rollout: Rollout, plan: Plan) -> Decision:
    harmed = _harm(rollout)
    if harmed:
        return Decision(finish(rollout, "rolled_back", harmed), "roll_back")
    if rollout.state == "held":
        return Decision(rollout, "none")
    if shares_broken(rollout.ratio):
        return _hold(rollout, _share_reason(rollout))
    stage = plan.stages[rollout.stage]
    if _stage_done(rollout, stage) and _may_leave(rollout, plan):
        return _enter(rollout, plan, rollout.stage + 1)
    if rollout.last_ms - rollout.stage_started_ms > plan.timeout_ms + stage.for_ms:
        return _hold(rollout, f"inconclusive: {_waiting_for(rollout, stage)}; a person decides")
    return Decision(rollout, "none")


def _enter(rollout: Rollout, plan: Plan, number: int) -> Decision:
    if number == len(plan.stages):
        return _hold(rollout, "every stage has passed and the loop declares no full(): a person decides")
    stage = plan.stages[number]
    entered = msgspec.structs.replace(
        rollout, stage=number, stage_started_ms=rollout.last_ms, stage_units=0, state="canary", reason=""
    )
    if stage.kind == "full":
        return Decision(finish(entered, "promoted", _promotion_reason(rollout)), "promote")
    if stage.kind == "shadow":
        return Decision(msgspec.structs.replace(entered, state="shadow"), "set_share")
    return Decision(entered, "set_share")


def _hold(rollout: Rollout, reason: str) -> Decision:
    return Decision(msgspec.structs.replace(rollout, state="held", reason=reason), "hold")


def _stage_done(rollout: Rollout, stage: StageDef) -> bool:
    if rollout.last_ms - rollout.stage_started_ms < stage.for_ms:
        return False
    if stage.kind == "shadow":
        return rollout.shadow_units >= max(1, stage.units)
    return rollout.stage_units >= (stage.units or DEFAULT_UNITS)


def _may_leave(rollout: Rollout, plan: Plan) -> bool:
    """The last canary stage is left by the evidence of every guard; one before it by its units, its time and no harm."""
    if plan.stages[rollout.stage].kind != "canary":
        return True
    return _has_canary(plan.stages[rollout.stage + 1 :]) or not unproved(rollout)


def unproved(rollout: Rollout) -> list[str]:
    """The guards whose evidence does not yet let the challenger be promoted. For its labels the pairs speak."""
    guards = [guard.name for guard in rollout.guards if guard.name != WRONG_LABEL and not is_safe(guard)]
    return guards if pairs_safe(rollout.pairs) else [*guards, LABEL_LOSS]


def harm_limit_of(rollout: Rollout) -> float:
    """The logarithm at which one of a rollout's guards, or its pairs, roll it back."""
    return harm_limit(len(rollout.guards) + 1)


def _has_canary(stages: Sequence[StageDef]) -> bool:
    return any(stage.kind == "canary" for stage in stages)


def _harm(rollout: Rollout) -> str:
    if rollout.shadow_errors and shadow_harm(rollout.shadow_units, rollout.shadow_errors) >= -math.log(FALSE_ROLLBACK):
        return f"{rollout.shadow_errors:,} of {rollout.shadow_units:,} units met an error in the shadow"
    limit, pairs = harm_limit_of(rollout), rollout.pairs
    if pairs_harm(pairs) >= limit:
        return (
            f"{LABEL_LOSS}: on the same {pairs.count:,} labelled requests it lost {pairs.challenger_loss / pairs.count:.3f} "
            f"where the champion lost {pairs.champion_loss / pairs.count:.3f}: evidence {_times(pairs_harm(pairs))}, limit "
            f"{_times(limit)}, after {rollout.requests:,} requests, {rollout.units_canary:,} units in the canary"
        )
    for guard in rollout.guards:
        if is_harmful(guard, limit):
            events = guard.canary_events + guard.stable_events
            return (
                f"{guard.name}: of {events:,} units that met one, {guard.canary_events:,} met the canary, where an equal "
                f"version would have had {guard.expected:,.1f}: evidence {_times(harm(guard))}, limit {_times(limit)}, "
                f"after {rollout.requests:,} requests, {rollout.units_canary:,} units in the canary"
            )
    return ""


def _share_reason(rollout: Rollout) -> str:
    canary, stable = rollout.ratio.canary_events, rollout.ratio.stable_events
    return (
        f"the arms do not get the share that was released: {canary:,} new units in the canary, {stable:,} in the "
        f"stable arm (evidence {_times(harm(rollout.ratio))}); a comparison of them means nothing"
    )


def _promotion_reason(rollout: Rollout) -> str:
    if not rollout.requests:
        return "the loop asks for no canary"
    names = ", ".join([*(guard.name for guard in rollout.guards if guard.name != WRONG_LABEL), LABEL_LOSS])
    return f"no harm, and evidence that it is not worse, in {names}, after {rollout.requests:,} requests"


def _waiting_for(rollout: Rollout, stage: StageDef) -> str:
    if not _stage_done(rollout, stage):
        return f"the stage has not had the {stage.units or DEFAULT_UNITS} units it needs"
    return f"not enough evidence yet for {', '.join(unproved(rollout))}"


def _times(logarithm: float) -> str:
    return f"{math.exp(min(logarithm, 700.0)):,.3g}"
