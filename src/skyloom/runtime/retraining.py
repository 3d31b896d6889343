"""Retraining by policy: signals gathered, the state machine asked, a training begun and followed to its end.

The states and their rules stand in `skyloom.delivery.retrain`; here is the I/O around them. Everything heavy happens in
a process of its own.
"""

import time

import msgspec

from skyloom.delivery.retrain import Signals, consider, report
from skyloom.delivery.rollout import FINISHED
from skyloom.kernel.records.definitions import ModelDef
from skyloom.kernel.records.registry import Version
from skyloom.kernel.records.release import RetrainState
from skyloom.monitoring.outcomes import outcomes_end
from skyloom.platform import Platform
from skyloom.registry.champion import champion_of
from skyloom.registry.runs import list_runs
from skyloom.registry.versions import get_version
from skyloom.runtime.admission import budget_refusal, is_training
from skyloom.runtime.control import rollout_of
from skyloom.runtime.evidence import Evidence, gather
from skyloom.runtime.retrain_job import ACTOR, DRIFT, TRAIN, Event, Running
from skyloom.runtime.state import applied, read, write

KIND = "retrain"
LOOK_S = 60.0
"""How often a model is looked at: a trigger that must hold twice holds for a minute at least."""

_BLOCKED_LOOKS = 10


class Retraining(msgspec.Struct, frozen=True):
    """Where a model stands: the state, the trigger that raised a suspicion, up to which moments of requests the evidence
    has been judged (with labels, without), the 95% quantile of the labels' delays, and the version that was made."""

    state: RetrainState = RetrainState()
    trigger: str = ""
    labelled_ms: int = 0
    served_ms: int = 0
    label_delay_ms: int = 0
    version: int | None = None


def retraining_of(platform: Platform, model: str) -> Retraining:
    """Where a model stands between two trainings, as it was recorded last."""
    return read(platform.metadata, KIND, model, Retraining) or Retraining()


class Retrainer:
    """Retrains the models whose loops say when. To be asked every second or so; it never waits."""

    def __init__(self, platform: Platform, profile: str, *, look_s: float = LOOK_S) -> None:
        self._platform, self._profile, self._look_s = platform, profile, look_s
        self._watches: dict[str, _Watch] = {}

    def look(self) -> None:
        """Go on with whatever is due. Raises what the stores raise."""
        for name, model in applied(self._platform.metadata).project.models.items():
            if model.loop.retrain or name in self._watches:
                watch = self._watches.setdefault(name, _Watch(self._platform, self._profile, name, self._look_s))
                watch.look(model)


class _Watch:
    """The retraining of one model."""

    def __init__(self, platform: Platform, profile: str, model: str, look_s: float) -> None:
        self._platform, self._profile, self._name, self._look_s = platform, profile, model, look_s
        self._looked = time.monotonic()
        self._blocked = 0
        self._job: Running | None = None
        self._waiting: Evidence | None = None
        self._seen = -1

    def look(self, model: ModelDef) -> None:
        if self._job is not None:
            self._follow_job(retraining_of(self._platform, self._name), model, self._job)
            return
        if time.monotonic() - self._looked < self._look_s:
            return
        self._looked = time.monotonic()
        kept = retraining_of(self._platform, self._name)
        if kept.state.state in ("healthy", "suspect"):
            self._watch(kept, model)
        elif kept.state.state in ("data_check", "data_blocked"):
            self._begin(kept, model)
        elif kept.state.state in ("train", "offline_gate"):
            event = "training_failed" if kept.state.state == "train" else "rejected"
            self._report(kept, Event(event, "it was interrupted: the process that watched over it has ended"))
        else:
            self._follow_version(kept)

    def _watch(self, kept: Retraining, model: ModelDef) -> None:
        """Gather what is new; drift is looked for, in a process of its own, when the scores alone promise a loss."""
        champion = champion_of(self._platform.metadata, self._name)
        if champion is None or self._busy():
            return
        evidence = self._gather(kept, model, get_version(self._platform.metadata, self._name, champion.version))
        declared = {trigger.kind for trigger in model.loop.retrain}
        if "drift" in declared and evidence.estimated and evidence.estimated.declined:
            self._waiting = evidence
            self._job = Running(self._platform, self._profile, self._name, DRIFT)
        else:
            self._consider(kept, model, evidence, drift=False)

    def _gather(self, kept: Retraining, model: ModelDef, version: Version) -> Evidence:
        with self._platform.online.read() as view:
            end = outcomes_end(view, self._name)
        if end == self._seen or {trigger.kind for trigger in model.loop.retrain} <= {"every"}:
            return self._nothing_new(kept)
        self._seen = end
        return gather(self._platform, model, version, kept.labelled_ms, kept.served_ms)

    def _nothing_new(self, kept: Retraining) -> Evidence:
        return Evidence(None, None, kept.labelled_ms, kept.served_ms, kept.label_delay_ms)

    def _consider(self, kept: Retraining, model: ModelDef, evidence: Evidence, *, drift: bool) -> None:
        """Ask the state machine: of triggers about which something new is known, and in a suspicion only of its own."""
        now, realised, estimated = self._platform.clock.now_ms(), evidence.realised, evidence.estimated
        signals = Signals(
            matured_drop=realised is not None and realised.declined,
            estimated_drop=estimated is not None and estimated.declined,
            drift=drift,
            label_delay_ms=evidence.label_delay_ms,
        )
        news = {"every"} | ({"performance"} if realised else set()) | ({"drift"} if estimated else set())
        state = msgspec.structs.replace(kept.state, trained_ms=self._last_trained(kept.state))
        judged = msgspec.structs.replace(
            kept,
            labelled_ms=evidence.labelled_ms,
            served_ms=evidence.served_ms,
            label_delay_ms=evidence.label_delay_ms,
        )
        asked = [trigger for trigger in model.loop.retrain if state.state == "healthy" or trigger.kind == kept.trigger]
        after, name = state if asked else consider(state, (), signals, now), kept.trigger
        for trigger in asked:
            if trigger.kind in news and after == state:
                after, name = consider(state, (trigger,), signals, now), trigger.kind
        kept = self._store(kept, msgspec.structs.replace(judged, state=after, trigger=name))
        if after.state == "data_check":
            self._begin(kept, model)

    def _begin(self, kept: Retraining, model: ModelDef) -> None:
        """Begin the training when nothing else is under way and the budget allows it."""
        if kept.state.state == "data_blocked":
            self._blocked += 1
            if self._blocked % _BLOCKED_LOOKS:
                return
        if self._busy():
            return
        refusal = budget_refusal(self._platform, model)
        if refusal is None:
            self._job = Running(self._platform, self._profile, self._name, TRAIN)
        elif kept.state.state == "data_check":
            self._report(kept, Event("data_failed", refusal))

    def _follow_job(self, kept: Retraining, model: ModelDef, job: Running) -> None:
        ended = job.has_ended  # asked first: what it said before its end is there
        if job.work == DRIFT:
            if ended:  # a look that failed has seen no drift
                self._job, drifted = None, any(event.event == "drifted" for event in job.events)
                self._consider(kept, model, self._waiting or self._nothing_new(kept), drift=drifted)
            return
        while job.events:
            event = job.events.popleft()
            if (kept.state.state, event.event) != ("data_blocked", "data_failed"):
                kept = self._report(kept, event)
        if not ended:
            return
        self._job = None
        if kept.state.state in ("data_check", "train"):
            kept = kept if kept.state.state == "train" else self._report(kept, Event("data_passed"))
            self._report(kept, Event("training_failed", f"it ended without a word: {job.last_line}"))

    def _follow_version(self, kept: Retraining) -> None:
        """What became of the version that was made; and time, which ends a cooldown and a bake."""
        event = self._fate(kept)
        if event is not None:
            self._report(kept, event)
            return
        signals = Signals(label_delay_ms=kept.label_delay_ms)
        state = consider(kept.state, (), signals, self._platform.clock.now_ms())
        self._store(kept, msgspec.structs.replace(kept, state=state))

    def _fate(self, kept: Retraining) -> Event | None:
        metadata, state = self._platform.metadata, kept.state.state
        champion, rollout = champion_of(metadata, self._name), rollout_of(self._platform, self._name)
        serves = champion is not None and champion.version == kept.version
        if state == "human":
            return Event("resumed", "somebody trained it") if (self._last_trained(None) or 0) > kept.state.since_ms else None
        if state == "bake":
            return None if serves else Event("rolled_back", f"v{kept.version} does not serve any more")
        if state not in ("shadow", "canary"):
            return None
        if serves:
            return Event("promoted")
        if rollout is None or rollout.challenger != kept.version:
            return Event("rolled_back", "another version took its place")
        if rollout.state in FINISHED - {"promoted"}:
            return Event("rolled_back", rollout.reason)
        return Event("canary_started") if (state, rollout.state) == ("shadow", "canary") else None

    def _busy(self) -> bool:
        rollout = rollout_of(self._platform, self._name)
        return (rollout is not None and rollout.state not in FINISHED) or is_training(self._platform, self._name)

    def _last_trained(self, state: RetrainState | None) -> int | None:
        """The moment of the last training that ended well, whoever began it, or the one that the state knows."""
        runs = list_runs(self._platform.metadata, self._name)
        ended = [run.finished_ms for run in runs if run.status == "done" and run.finished_ms is not None]
        known = [state.trained_ms] if state is not None and state.trained_ms is not None else []
        return max([*ended, *known], default=None)

    def _report(self, kept: Retraining, event: Event) -> Retraining:
        state = report(kept.state, event.event, self._platform.clock.now_ms(), event.reason)
        version = kept.version if event.version is None else event.version
        return self._store(kept, msgspec.structs.replace(kept, state=state, version=version))

    def _store(self, kept: Retraining, changed: Retraining) -> Retraining:
        if changed != kept:
            with self._platform.metadata.transaction(ACTOR) as transaction:
                write(transaction, KIND, self._name, changed, action=f"retrain.{changed.state.state}")
        return changed
