"""The judge at work: outcomes read, a rollout stepped, what it decides done."""

import msgspec

from skyloom.delivery.evidence import RolloutMemory, recall
from skyloom.delivery.release import load
from skyloom.delivery.rollout import FINISHED, Plan, step
from skyloom.delivery.routes import canary_share
from skyloom.kernel.records.prediction import Outcome
from skyloom.kernel.records.release import Rollout
from skyloom.monitoring.outcomes import outcomes_end, read_outcomes
from skyloom.platform import Platform
from skyloom.registry.champion import champion_of
from skyloom.runtime.control import crown_challenger, plan_of, reconcile, rollout_of, store_rollout

JUDGE = "judge"
_MOST = 10_000


class _Shares(dict[str, int]):
    """With which share each release drew the canary of a rollout; read from the release when it is first asked for."""

    def __init__(self, platform: Platform, rollout: Rollout) -> None:
        super().__init__()
        self._platform, self._rollout = platform, rollout

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str)

    def __missing__(self, release: str) -> int:
        found = load(self._platform.objects, self._platform.verifier, release)
        self[release] = canary_share(found, self._rollout)
        return self[release]


class _Case:
    """A rollout with what its judge remembers, rebuilt from the outcomes after a restart."""

    def __init__(self, platform: Platform, rollout: Rollout) -> None:
        self.id = rollout.id
        self.plan: Plan = plan_of(platform, rollout)
        self.shares = _Shares(platform, rollout)
        judged = _outcomes(platform, rollout.model, rollout.start, rollout.position - rollout.start)
        self.memory: RolloutMemory = recall(rollout, judged, self.plan.limits, self.shares)


class Judge:
    """Judges the rollouts of one model."""

    def __init__(self, platform: Platform, model: str) -> None:
        self._platform, self._model = platform, model
        self._case: _Case | None = None

    def look(self) -> bool:
        """Judge what came in since the last look; whether there was anything to judge."""
        rollout = rollout_of(self._platform, self._model)
        if rollout is None or rollout.state in FINISHED:
            self._mend(rollout)
            return False
        with self._platform.online.read() as view:
            end = outcomes_end(view, self._model)
        if end < rollout.position:
            self._hold_without_outcomes(rollout, end)
            return False
        # what the case remembers is ahead of the record from the step until the record is stored: a failure drops it
        case, self._case = self._case, None
        if case is None or case.id != rollout.id:
            case = _Case(self._platform, rollout)
        outcomes = _outcomes(self._platform, self._model, rollout.position, _MOST)
        # time alone decides only when no outcome waits: what happened before now is judged first
        now = rollout.last_ms if outcomes else self._platform.clock.now_ms()
        decision = step(rollout, case.memory, outcomes, case.plan, case.shares, now)
        if decision.rollout != rollout:
            store_rollout(self._platform, decision.rollout, actor=JUDGE)
        self._case = case
        if decision.action != "none":
            reconcile(self._platform, actor=JUDGE)
        return bool(outcomes)

    def _hold_without_outcomes(self, rollout: Rollout, end: int) -> None:
        """The online store lost what was judged (a crash of the machine may empty it): no number goes on from here."""
        self._case = None
        if rollout.state != "held":
            reason = f"{rollout.position:,} outcomes were judged and the online store holds {end:,}: a person decides"
            store_rollout(self._platform, msgspec.structs.replace(rollout, state="held", reason=reason), actor=JUDGE)
            reconcile(self._platform, actor=JUDGE)

    def _mend(self, rollout: Rollout | None) -> None:
        """A crash between the end of a rollout and the crowning of its challenger leaves this to do."""
        if rollout is None or rollout.state != "promoted":
            return
        champion = champion_of(self._platform.metadata, self._model)
        if (champion.version if champion else None) == rollout.champion:
            crown_challenger(self._platform, rollout, actor=JUDGE)


def _outcomes(platform: Platform, model: str, start: int, most: int) -> list[Outcome]:
    if most <= 0:
        return []
    with platform.online.read() as view:
        return read_outcomes(view, model, start, most)
