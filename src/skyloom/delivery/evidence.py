"""The evidence of a rollout: what each outcome adds to it. What is decided from it stands in `skyloom.delivery.rollout`."""

from collections.abc import Iterable, Mapping

import msgspec

from skyloom.delivery.canary import SHARE_RATIOS, GuardMemory, Limits, add_event, is_bad, is_broken, observe
from skyloom.delivery.paired import PairMemory, add_pair, losses
from skyloom.kernel.errors import NotFound
from skyloom.kernel.records.prediction import Outcome
from skyloom.kernel.records.release import Guard, Rollout
from skyloom.kernel.sticky import BUCKETS

_LATENCIES_NEEDED = 100
_LATENCIES_KEPT = 5_000
_DRAWN = ("champion", "canary")


class RolloutMemory:
    """Which units a rollout has seen: too large for the record, and not kept in it.

    It is made by the outcomes alone, so that `recall` rebuilds it after a restart.
    """

    def __init__(self) -> None:
        self.guards: dict[str, GuardMemory] = {}
        self.pairs = PairMemory()
        self.stable_ms: list[float] = []
        self._seen: dict[str, set[str]] = {}
        self._canary_share: dict[str, int] = {}
        self._units_at: dict[int, int] = {}

    def is_new(self, what: str, unit: str) -> bool:
        """Whether ``unit`` appears for the first time among ``what``; remembered."""
        seen = self._seen.setdefault(what, set())
        known = unit in seen
        seen.add(unit)
        return not known

    def count_canary(self, unit: str, share: int) -> None:
        """Count a unit among those that met the canary at ``share``, once for each greater share."""
        if self._canary_share.get(unit, 0) < share:
            self._canary_share[unit] = share
            self._units_at[share] = self.units_at(share) + 1

    def units_at(self, share: int) -> int:
        """How many units have met the canary at this share."""
        return self._units_at.get(share, 0)


def recall(rollout: Rollout, outcomes: Iterable[Outcome], limits: Limits, shares: Mapping[str, int]) -> RolloutMemory:
    """The memory of a rollout, rebuilt from its outcomes ``rollout.start <= offset < rollout.position``."""
    memory = RolloutMemory()
    again = msgspec.structs.replace(rollout, stable_p99_ms=None)
    for outcome in outcomes:
        again = absorb(again, memory, outcome, limits, shares)
    return memory


def absorb(rollout: Rollout, memory: RolloutMemory, outcome: Outcome, limits: Limits, shares: Mapping[str, int]) -> Rollout:
    """The rollout with the evidence of one outcome of its model.

    ``shares`` maps a release's id to the canary's share in it (of 10,000; 0 where this challenger is no canary).
    Raises `NotFound` for an outcome of a release that is not in it.
    """
    shadow = outcome.version == rollout.challenger and outcome.arm == "shadow"
    drawn = outcome.version in (rollout.champion, rollout.challenger) and outcome.arm in _DRAWN
    if not (shadow or drawn):
        return rollout
    if outcome.release not in shares:
        raise NotFound(f"the release {outcome.release!r} that answered {outcome.receipt} is not known")
    share = shares[outcome.release]
    if shadow:
        rollout = _absorb_pair(rollout, memory, outcome, limits)
        # beside a canary the guard of errors compares; alone in the shadow there is only an absolute bound
        return rollout if share else _absorb_shadow(rollout, memory, outcome)
    if outcome.version == rollout.champion:
        rollout = _absorb_pair(rollout, memory, outcome, limits)
    if outcome.kind == "served":
        rollout = _absorb_served(rollout, memory, outcome, share)
    if not 0 < share < BUCKETS:
        return rollout
    return _absorb_guards(rollout, memory, outcome, limits, share)


def _absorb_shadow(rollout: Rollout, memory: RolloutMemory, outcome: Outcome) -> Rollout:
    if outcome.kind != "served":
        return rollout
    units = rollout.shadow_units + memory.is_new("shadow", outcome.unit)
    errors = rollout.shadow_errors + (is_broken(outcome) and memory.is_new("shadow errors", outcome.unit))
    return msgspec.structs.replace(rollout, shadow_units=units, shadow_errors=errors)


def _absorb_pair(rollout: Rollout, memory: RolloutMemory, outcome: Outcome, limits: Limits) -> Rollout:
    if outcome.kind != "labelled":
        return rollout
    pair = memory.pairs.match(outcome, outcome.version == rollout.challenger)
    if pair is None:
        return rollout
    return msgspec.structs.replace(rollout, pairs=add_pair(rollout.pairs, *losses(*pair, limits.task)))


def _absorb_served(rollout: Rollout, memory: RolloutMemory, outcome: Outcome, share: int) -> Rollout:
    canary = outcome.arm == "canary"
    if rollout.stable_p99_ms is None:
        rollout = _freeze(rollout, memory, outcome, share)
    if not share:
        return rollout
    ratio = rollout.ratio
    if share < BUCKETS and memory.is_new("units", outcome.unit):
        ratio = add_event(ratio, canary, share / BUCKETS, SHARE_RATIOS)
    if canary:
        memory.count_canary(outcome.unit, share)
    return msgspec.structs.replace(
        rollout,
        requests=rollout.requests + 1,
        units_canary=rollout.units_canary + (canary and memory.is_new("canary", outcome.unit)),
        units_stable=rollout.units_stable + (not canary and memory.is_new("stable", outcome.unit)),
        ratio=ratio,
    )


def _freeze(rollout: Rollout, memory: RolloutMemory, outcome: Outcome, share: int) -> Rollout:
    """Freeze the stable arm's p99 once the canary is out and there are latencies enough; until then collect them."""
    if share and len(memory.stable_ms) >= _LATENCIES_NEEDED:
        import numpy as np

        return msgspec.structs.replace(rollout, stable_p99_ms=float(np.quantile(memory.stable_ms, 0.99)))
    if outcome.arm == "champion" and outcome.error is None:
        memory.stable_ms.append(outcome.latency_ms)
        del memory.stable_ms[:-_LATENCIES_KEPT]
    return rollout


def _absorb_guards(rollout: Rollout, memory: RolloutMemory, outcome: Outcome, limits: Limits, share: int) -> Rollout:
    def after(guard: Guard) -> Guard:
        bad = is_bad(guard.name, outcome, limits, rollout.stable_p99_ms)
        if bad is None:
            return guard
        return observe(guard, memory.guards.setdefault(guard.name, GuardMemory()), outcome, bad, share)

    return msgspec.structs.replace(rollout, guards=tuple(after(guard) for guard in rollout.guards))
