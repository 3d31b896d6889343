"""Figures of the serving part of the story."""

from skyloom.kernel.records.release import Rollout
from skyloom.monitoring.outcomes import read_counts
from skyloom.platform import Platform
from skyloom.runtime.control import require_rollout
from skyloom.runtime.demo.replay import Replayed
from skyloom.runtime.demo.teller import Step, Teller

MODEL = "late_arrival"


def tell_replayed(tell: Teller, step: Step, replayed: Replayed) -> None:
    """How much was sent, and how fast."""
    tell.figure(step, "prediction requests", replayed.requests)
    tell.figure(step, "landings reported", replayed.events)
    rate = (replayed.requests + replayed.events) / max(replayed.seconds, 1e-9)
    tell.figure(step, "pace", round(rate), "requests and landings a second")


def tell_labels(platform: Platform, tell: Teller, step: Step) -> None:
    """How many predictions have their label."""
    with platform.online.read() as view:
        counts = read_counts(view, MODEL)
    tell.figure(step, "predictions logged", counts.served)
    tell.figure(step, "labels joined", counts.labelled, "as planes landed")


def tell_rollout(platform: Platform, tell: Teller, step: Step, seen: list[tuple[str, int]]) -> None:
    """How a rollout went, with its evidence."""
    rollout = require_rollout(platform, MODEL)
    tell.figure(step, "stages", " > ".join(_named(state, stage) for state, stage in seen))
    tell.figure(step, "requests judged", rollout.requests)
    tell.figure(step, "units", f"{rollout.units_canary:,} canary, {rollout.units_stable:,} stable")
    _tell_guards(tell, rollout)
    _tell_pairs(tell, rollout)
    tell.figure(step, "decision", rollout.state.replace("_", " "), rollout.reason)


def _tell_guards(tell: Teller, rollout: Rollout) -> None:
    from skyloom.delivery.canary import harm, is_safe

    rows = [
        [
            guard.name,
            f"{guard.canary_events + guard.stable_events:,}",
            f"{guard.canary_events:,}",
            f"{guard.expected:,.1f}",
            f"{harm(guard):+.2f}",
            _word(is_safe(guard)),
        ]
        for guard in rollout.guards
    ]
    tell.table(["guard", "bad units", "in the canary", "if it were equal", "log evidence of harm", "shown safe"], rows)


def _tell_pairs(tell: Teller, rollout: Rollout) -> None:
    from skyloom.delivery.paired import LABEL_LOSS, pairs_harm, pairs_safe

    pairs = rollout.pairs
    if pairs.count:
        means = [f"{total / pairs.count:.4f}" for total in (pairs.champion_loss, pairs.challenger_loss)]
        row = [LABEL_LOSS, f"{pairs.count:,}", *means, f"{pairs_harm(pairs):+.2f}", _word(pairs_safe(pairs))]
        columns = ["labels", "same requests", "champion lost", "challenger lost", "log evidence of harm", "shown safe"]
        tell.table(columns, [row])


def _named(state: str, stage: int) -> str:
    return f"{state}" if state in ("shadow", "promoted", "rolled_back", "held") else f"{state} step {stage}"


def _word(yes: bool) -> str:
    return "yes" if yes else "not yet"
