import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.delivery.retrain import DAY_MS, MONTH_MS, Signals, consider, report
from skyloom.kernel.errors import Refused
from skyloom.kernel.records.definitions import TriggerDef
from skyloom.kernel.records.release import RetrainState

WEEKLY = TriggerDef("every", 7 * DAY_MS)
ALL = (WEEKLY, TriggerDef("performance"), TriggerDef("drift"))
EVENTS = (
    "data_passed",
    "data_failed",
    "trained",
    "training_failed",
    "gates_passed",
    "rejected",
    "canary_started",
    "promoted",
    "rolled_back",
    "resumed",
)


def settle(state, signals, now):
    """Consider twice, as two rounds of monitoring do."""
    return consider(consider(state, ALL, signals, now), ALL, signals, now + 1)


def test_drift_alone_never_retrains():
    state = RetrainState(trained_ms=0)
    assert settle(state, Signals(drift=True), DAY_MS).state == "healthy"
    assert settle(state, Signals(estimated_drop=True), DAY_MS).state == "healthy"
    assert settle(state, Signals(drift=True, estimated_drop=True), DAY_MS).state == "data_check"
    assert settle(state, Signals(matured_drop=True), DAY_MS).state == "data_check"
    assert settle(state, Signals(), 7 * DAY_MS).state == "data_check"


def test_a_trigger_that_is_not_confirmed_is_dropped():
    suspect = consider(RetrainState(trained_ms=0), ALL, Signals(matured_drop=True), 5)
    assert suspect.state == "suspect"
    assert consider(suspect, ALL, Signals(), 6).state == "healthy"


def test_only_declared_triggers_fire():
    assert consider(RetrainState(trained_ms=0), (WEEKLY,), Signals(matured_drop=True), 5).state == "healthy"


def test_the_whole_way_and_back():
    state = settle(RetrainState(trained_ms=0), Signals(), 7 * DAY_MS)
    for event, expected in [
        ("data_failed", "data_blocked"),
        ("data_passed", "train"),
        ("trained", "offline_gate"),
        ("gates_passed", "shadow"),
        ("canary_started", "canary"),
        ("promoted", "bake"),
    ]:
        state = report(state, event, 8 * DAY_MS)
        assert state.state == expected
    assert state.trained_ms == 8 * DAY_MS
    assert consider(state, ALL, Signals(), 9 * DAY_MS - 1).state == "bake"
    assert consider(state, ALL, Signals(), 9 * DAY_MS).state == "healthy"
    assert msgspec.json.decode(msgspec.json.encode(state), type=RetrainState) == state


def test_failures_wait_longer_each_time_and_the_third_calls_a_person():
    gate = RetrainState("offline_gate")
    first = report(gate, "rejected", 0)
    assert consider(first, ALL, Signals(matured_drop=True), DAY_MS - 1).state == "cooldown"
    assert consider(first, ALL, Signals(label_delay_ms=3 * DAY_MS), 2 * DAY_MS).state == "cooldown"
    assert consider(first, ALL, Signals(), DAY_MS).state == "healthy"
    second = report(msgspec.structs.replace(first, state="canary"), "rolled_back", 0)
    assert consider(second, ALL, Signals(), 2 * DAY_MS - 1).state == "cooldown"
    third = report(msgspec.structs.replace(second, state="train"), "training_failed", 0)
    assert third.state == "human"
    assert consider(third, ALL, Signals(matured_drop=True), 10**12) == third
    assert report(third, "resumed", 5).rejections == 0


def test_what_cannot_happen_is_refused():
    with pytest.raises(Refused, match="cannot happen"):
        report(RetrainState("train"), "promoted", 0)


@given(st.lists(st.one_of(st.sampled_from(EVENTS), st.integers(0, 3 * DAY_MS)), max_size=300))
@settings(max_examples=100, deadline=None)
def test_whatever_happens_there_are_at_most_four_promotions_in_thirty_days(history):
    state, now, promotions = RetrainState(trained_ms=0), 0, []
    for each in history:
        if isinstance(each, int):
            now += each
            state = consider(state, ALL, Signals(matured_drop=True), now)
            continue
        try:
            state = report(state, each, now)
        except Refused:
            continue
        if each == "promoted":
            promotions.append(now)
        assert state.rejections < 3 or state.state == "human"
    for moment in promotions:
        assert sum(moment - MONTH_MS < other <= moment for other in promotions) <= 4
    assert state.since_ms <= now


def test_promotions_are_limited_even_when_performance_keeps_dropping():
    state, now, promoted = RetrainState(trained_ms=0), 0, 0
    while now < MONTH_MS:
        now += DAY_MS // 2
        state = consider(state, ALL, Signals(matured_drop=True), now)
        if state.state == "data_check":
            for event in ("data_passed", "trained", "gates_passed", "promoted"):
                state = report(state, event, now)
            promoted += 1
    assert promoted == 4
    assert "no more for now" in state.reason
