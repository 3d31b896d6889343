"""When to train again: a state machine that cannot flap. State and signals in, state out.

    healthy ─> suspect ─> data_check ─> train ─> offline_gate ─> shadow ─> canary ─> bake ─> healthy
                              │           └─────────┴─────── failed ┴────────┘ ┴──────┘
                              └─> data_blocked               └─> cooldown (doubling) ─> healthy; the third in a row: human

Drift alone never retrains: it makes an estimated loss of performance believable. Each trigger must hold twice.
"""

from collections.abc import Sequence

import msgspec

from skyloom.kernel.errors import Refused
from skyloom.kernel.records.definitions import TriggerDef
from skyloom.kernel.records.release import RetrainState

DAY_MS = 86_400_000
MONTH_MS = 30 * DAY_MS
BAKE_MS = DAY_MS
MOST_PROMOTIONS = 4
MOST_REJECTIONS = 3

_WAY = {
    ("data_check", "data_passed"): "train",
    ("data_blocked", "data_passed"): "train",
    ("data_check", "data_failed"): "data_blocked",
    ("train", "trained"): "offline_gate",
    ("offline_gate", "gates_passed"): "shadow",
    ("shadow", "canary_started"): "canary",
    ("shadow", "promoted"): "bake",
    ("canary", "promoted"): "bake",
    ("human", "resumed"): "healthy",
}
_FAILURES = {
    "training_failed": ("train",),
    "rejected": ("offline_gate",),
    "rolled_back": ("shadow", "canary", "bake"),
}


class Signals(msgspec.Struct, frozen=True):
    """What monitoring says now.

    ``matured_drop``: matured labels show worse performance; ``estimated_drop``: an estimate without labels does;
    ``drift``: inputs have drifted. ``label_delay_ms`` is the 95% quantile of the labels' delays.
    """

    matured_drop: bool = False
    estimated_drop: bool = False
    drift: bool = False
    label_delay_ms: int = 0


def consider(state: RetrainState, triggers: Sequence[TriggerDef], signals: Signals, now_ms: int) -> RetrainState:
    """Let time pass until ``now_ms`` and look at the signals. ``data_check`` is the answer that starts a retraining.

    >>> state = RetrainState(trained_ms=0)
    >>> week = (TriggerDef("every", 7 * DAY_MS),)
    >>> suspect = consider(state, week, Signals(), 7 * DAY_MS)
    >>> suspect.state, consider(suspect, week, Signals(), 7 * DAY_MS + 1).state
    ('suspect', 'data_check')
    """
    since = now_ms - state.since_ms
    if state.state == "cooldown" and since >= cooldown_ms(state.rejections, signals.label_delay_ms):
        return _to(state, "healthy", "the cooldown is over", now_ms)
    if state.state == "bake" and since >= BAKE_MS:
        return _to(state, "healthy", "the new version has served for a day", now_ms)
    if state.state not in ("healthy", "suspect"):
        return state
    reason = _trigger(state, triggers, signals, now_ms)
    if not reason:
        return state if state.state == "healthy" else _to(state, "healthy", "the trigger was not confirmed", now_ms)
    if len(_recent(state, now_ms)) >= MOST_PROMOTIONS:
        held = f"{MOST_PROMOTIONS} promotions in 30 days: no more for now ({reason})"
        return state if state.reason == held else _to(state, "healthy", held, now_ms)
    return _to(state, "suspect" if state.state == "healthy" else "data_check", reason, now_ms)


def report(state: RetrainState, event: str, now_ms: int, reason: str = "") -> RetrainState:
    """What a step of the retraining came to: ``data_passed``, ``data_failed``, ``trained``, ``training_failed``,
    ``gates_passed``, ``rejected``, ``canary_started``, ``promoted``, ``rolled_back``; ``resumed`` by a person.

    Raises `Refused` for an event that cannot happen in this state: two retrainings of one model never overlap.
    """
    if state.state in _FAILURES.get(event, ()):
        return _failed(state, event, now_ms, reason)
    if (state.state, event) not in _WAY:
        raise Refused(f"{event!r} cannot happen while the retraining is in {state.state!r}", tried=state.reason)
    after = _to(state, _WAY[state.state, event], reason or event.replace("_", " "), now_ms)
    if event == "trained":
        return msgspec.structs.replace(after, trained_ms=now_ms)
    if event == "promoted":
        return msgspec.structs.replace(after, rejections=0, promotions_ms=(*_recent(state, now_ms), now_ms))
    return msgspec.structs.replace(after, rejections=0) if event == "resumed" else after


def cooldown_ms(rejections: int, label_delay_ms: int) -> int:
    """How long to wait after ``rejections`` failures in a row: a day, or the labels' delay if that is longer, doubling.

    >>> [cooldown_ms(n, 0) // DAY_MS for n in (1, 2, 3)]
    [1, 2, 4]
    """
    return max(DAY_MS, label_delay_ms) << max(0, rejections - 1)


def _failed(state: RetrainState, event: str, now_ms: int, reason: str) -> RetrainState:
    rejections = state.rejections + 1
    told = reason or event.replace("_", " ")
    if rejections >= MOST_REJECTIONS:
        after = _to(state, "human", f"{rejections} in a row failed, the last: {told}", now_ms)
    else:
        after = _to(state, "cooldown", told, now_ms)
    return msgspec.structs.replace(after, rejections=rejections, trained_ms=now_ms)


def _trigger(state: RetrainState, triggers: Sequence[TriggerDef], signals: Signals, now_ms: int) -> str:
    """The reason of the first trigger that fires; empty when none does."""
    for trigger in triggers:
        if trigger.kind == "every" and state.trained_ms is not None and now_ms - state.trained_ms >= trigger.every_ms:
            return f"{(now_ms - state.trained_ms) / DAY_MS:.1f} days since the last training"
        if trigger.kind == "performance" and signals.matured_drop:
            return "matured labels show a loss of performance"
        if trigger.kind == "drift" and signals.drift and signals.estimated_drop:
            return "the inputs have drifted and the estimated performance has dropped"
    return ""


def _recent(state: RetrainState, now_ms: int) -> tuple[int, ...]:
    return tuple(moment for moment in state.promotions_ms if moment > now_ms - MONTH_MS)


def _to(state: RetrainState, name: str, reason: str, now_ms: int) -> RetrainState:
    return msgspec.structs.replace(state, state=name, since_ms=now_ms, reason=reason)
