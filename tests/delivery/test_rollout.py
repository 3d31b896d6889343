"""Whole rollouts, driven the way a driver would: released shares reach the traffic later, outcomes come in batches."""

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.delivery.canary import Limits
from skyloom.delivery.evidence import RolloutMemory, recall
from skyloom.delivery.rollout import DAY_MS, Plan, begin, finish, share_of, step, unproved
from skyloom.kernel.errors import NotFound
from skyloom.kernel.records.definitions import StageDef
from skyloom.kernel.records.prediction import Outcome
from skyloom.kernel.records.release import Rollout
from skyloom.kernel.sticky import bucket_of

SECOND = 1_000
STAGES = (
    StageDef("shadow", for_ms=60 * SECOND, units=50),
    StageDef("canary", 5.0, units=20),
    StageDef("canary", 25.0, units=40),
    StageDef("canary", 50.0, units=100),
    StageDef("full", 100.0),
)
PLAN = Plan(STAGES, Limits({1: 0.5, 2: 0.5}, latency_ms=5.0))
START = Rollout("ro", "m", 1, 2, "salt", "", 0, 0, started_ms=1_000)


class World:
    """Traffic under releases. Rates are those of errors, slow answers and wrong labels, by version."""

    def __init__(self, seed, stable=(0.0, 0.0, 0.2), challenger=(0.0, 0.0, 0.2), units=None, salt="salt"):
        self.rng = np.random.default_rng(seed)
        self.rates, self.units, self.salt = {1: stable, 2: challenger}, units, salt
        self.now, self.number, self.shares = 1_000, 0, {"none": 0}
        self.shadow, self.share, self.labels = False, 0, []
        self.misroute, self.copies = 0.0, True

    def obey(self, decision, plan=PLAN):
        """Release what the rollout asks for now."""
        self.share = share_of(decision.rollout, plan)
        self.shadow = decision.rollout.state == "shadow"
        self.shares[f"share-{self.share}"] = self.share

    def outcomes(self, count):
        found = []
        for _ in range(count):
            self.number, self.now = self.number + 1, self.now + SECOND
            unit = f"u{self.number if self.units is None else self.rng.integers(self.units)}"
            canary = bucket_of(self.salt, unit) < self.share or self.rng.random() < self.misroute
            row = float(self.rng.random() < 0.4), self.rng.random()
            found.append(self._answer(unit, 2 if canary else 1, "canary" if canary else "champion", *row))
            if (self.shadow or self.share) and not canary and self.copies:
                found.append(self._answer(unit, 2, "shadow", *row))
            if len(self.labels) > 30:
                found.append(self.labels.pop(0))
        return found

    def _answer(self, unit, version, arm, label, hard):
        """Rows are hard for every version alike: an equal one is wrong on the same rows."""
        errors, slow, wrong = self.rates[version]
        error = "boom" if self.rng.random() < errors else None
        right = hard >= wrong
        score = None if error else (0.9 if (label == 1.0) == right else 0.1)
        latency = 50.0 if self.rng.random() < slow else 1.0
        name = f"{arm}-{self.number}"
        served = Outcome(
            "served", name, "m", version, arm, unit, self.now, score, latency, error, release=f"share-{self.share}"
        )
        later = {"kind": "labelled", "label": label, "labelled_ms": self.now + 30 * SECOND}
        self.labels.append(msgspec.structs.replace(served, **later))
        return served


def run(world, plan=PLAN, requests=6_000, batch=25, start=START):
    memory, actions = RolloutMemory(), []
    decision = begin(start, plan)
    world.obey(decision, plan)
    for _ in range(requests // batch):
        decision = step(decision.rollout, memory, world.outcomes(batch), plan, world.shares, world.now)
        if decision.action != "none":
            actions.append((decision.action, decision.rollout.stage))
            world.obey(decision, plan)
        if decision.rollout.finished_ms is not None:
            break
    return decision.rollout, actions


def test_an_equal_version_goes_through_every_stage_and_is_promoted():
    rollout, actions = run(World(1))
    assert actions == [("set_share", 1), ("set_share", 2), ("set_share", 3), ("promote", 4)]
    assert rollout.state == "promoted"
    assert rollout.champion == 1
    assert rollout.shadow_units >= 50
    assert rollout.finished_ms == rollout.last_ms
    assert "evidence" in rollout.reason


def test_equal_versions_of_returning_units_are_rarely_rolled_back():
    ends = [
        run(World(seed, units=500, stable=(0.01, 0.0, 0.2), challenger=(0.01, 0.0, 0.2)), requests=2_000)[0]
        for seed in range(15)
    ]
    assert sum(rollout.state == "rolled_back" for rollout in ends) == 0


@pytest.mark.parametrize(
    ("challenger", "guard"),
    [((0.3, 0.0, 0.2), "errors"), ((0.0, 0.4, 0.2), "latency"), ((0.0, 0.0, 0.6), "label_loss")],
)
def test_a_worse_version_is_rolled_back_by_the_guard_it_fails(challenger, guard):
    plan = Plan(STAGES[1:], PLAN.limits)
    for seed in range(3):
        rollout, _ = run(World(seed, challenger=challenger), plan)
        assert rollout.state == "rolled_back"
        assert rollout.reason.startswith(guard)
        assert share_of(rollout, plan) == 0


def test_wrong_answers_that_were_given_roll_back_even_if_no_copy_was_made():
    world, plan = World(0, challenger=(0.0, 0.0, 0.6)), Plan(STAGES[1:], PLAN.limits)
    world.copies = False
    rollout, _ = run(world, plan)
    assert (rollout.state, rollout.pairs.count) == ("rolled_back", 0)
    assert rollout.reason.startswith("wrong_label")


def test_without_pairs_nothing_is_promoted():
    world, plan = World(0), Plan(STAGES[1:], PLAN.limits)
    world.copies = False
    rollout, _ = run(world, plan)
    assert (rollout.state, rollout.stage, unproved(rollout)) == ("canary", 2, ["label_loss"])


def test_a_version_that_is_worse_where_both_are_often_wrong_is_not_promoted():
    """The ratio of wrong answers is 1.2 here: paired, it shows."""
    for seed in range(5):
        rollout, _ = run(World(seed, stable=(0.0, 0.0, 0.3), challenger=(0.0, 0.0, 0.36)), requests=3_000)
        assert rollout.state == "rolled_back"


def test_a_version_that_fails_in_the_shadow_never_takes_traffic():
    rollout, actions = run(World(2, challenger=(0.5, 0.0, 0.2)))
    assert rollout.state == "rolled_back"
    assert rollout.requests == 0
    assert actions == [("roll_back", 0)]


def test_wrong_shares_hold_and_harm_still_rolls_back_what_is_held():
    world = World(3, stable=(0.0, 0.0, 0.0), challenger=(0.0, 0.0, 0.0))
    world.misroute = 0.3
    plan = Plan(STAGES[1:], PLAN.limits)
    rollout, actions = run(world, plan, requests=1_000)
    assert rollout.state == "held"
    assert actions[-1] == ("hold", 0)
    assert "share" in rollout.reason
    assert share_of(rollout, plan) == 500
    world.rates[2] = (0.9, 0.0, 0.2)
    memory = recall(rollout, [], plan.limits, world.shares)
    decision = step(rollout, memory, world.outcomes(800), plan, world.shares, world.now)
    assert decision.action == "roll_back"
    assert decision.rollout.reason.startswith("errors")


def test_without_evidence_a_rollout_is_held_never_promoted():
    plan = Plan((StageDef("canary", 50.0, units=10), StageDef("full")), PLAN.limits)
    world, memory = World(4), RolloutMemory()
    decision = begin(START, plan)
    world.obey(decision, plan)
    decision = step(decision.rollout, memory, world.outcomes(200), plan, world.shares, world.now)
    assert decision.rollout.state == "canary"
    decision = step(decision.rollout, memory, [], plan, world.shares, world.now + 8 * DAY_MS)
    assert (decision.rollout.state, decision.action) == ("held", "hold")
    assert "not enough evidence yet for" in decision.rollout.reason
    idle = step(begin(START, PLAN).rollout, RolloutMemory(), [], PLAN, {}, START.started_ms + 8 * DAY_MS)
    assert idle.rollout.state == "held"


def test_a_shadow_needs_its_time_and_its_units():
    shadow = begin(START, PLAN).rollout
    late = step(shadow, RolloutMemory(), [], PLAN, {}, START.started_ms + DAY_MS).rollout
    assert late.state == "shadow"
    world = World(5)
    world.shadow = True
    world.shares["share-0"] = 0
    assert step(shadow, RolloutMemory(), world.outcomes(40), PLAN, world.shares, 0).rollout.state == "shadow"
    assert step(shadow, RolloutMemory(), world.outcomes(70), PLAN, world.shares, 0).rollout.state == "canary"


def test_the_first_version_and_a_loop_without_a_canary():
    first = begin(msgspec.structs.replace(START, champion=None), PLAN)
    assert (first.action, first.rollout.state) == ("promote", "promoted")
    at_once = begin(START, Plan((StageDef("full"),), PLAN.limits))
    assert (at_once.action, at_once.rollout.state) == ("promote", "promoted")
    unfinished = Plan(STAGES[1:-1], PLAN.limits)
    rollout, actions = run(World(6), unfinished)
    assert rollout.state == "held"
    assert actions[-1] == ("hold", 2)
    assert "a person decides" in rollout.reason


def test_what_is_finished_is_judged_no_more():
    world = World(7)
    ended = finish(begin(START, PLAN).rollout, "aborted", "by hand")
    after = step(ended, RolloutMemory(), world.outcomes(10), PLAN, world.shares, 10**9)
    assert after.rollout == ended
    assert after.action == "none"


def test_pinned_answers_and_other_versions_are_no_evidence():
    plan = Plan(STAGES[1:], PLAN.limits)
    rollout = begin(START, plan).rollout
    broken = Outcome("served", "r", "m", 2, "pinned", "u", 2_000, None, 1.0, "boom", release="share-500")
    other = msgspec.structs.replace(broken, version=9, arm="canary")
    after = step(rollout, RolloutMemory(), [broken, other], plan, {"share-500": 500}, 0).rollout
    assert after.guards == rollout.guards
    assert after.position == 2


def test_an_unknown_release_is_said():
    outcome = Outcome("served", "r", "m", 1, "champion", "u", 2_000, 0.5, 1.0, release="?")
    with pytest.raises(NotFound, match="not known"):
        step(begin(START, PLAN).rollout, RolloutMemory(), [outcome], PLAN, {}, 0)


def recorded(seed):
    """The outcomes of a rollout that was driven to its end, with all that is needed to judge them again."""
    world = World(seed, stable=(0.02, 0.02, 0.2), challenger=(0.02, 0.02, 0.3), units=600)
    plan = Plan((StageDef("canary", 5.0, units=5), StageDef("canary", 50.0, units=20), StageDef("full")), PLAN.limits)
    decision, memory, outcomes = begin(START, plan), RolloutMemory(), []
    world.obey(decision, plan)
    for _ in range(30):
        outcomes += (new := world.outcomes(20))
        decision = step(decision.rollout, memory, new, plan, world.shares, 0)
        world.obey(decision, plan)
    return plan, world.shares, outcomes, decision.rollout


RECORDED = [recorded(seed) for seed in range(3)]


@given(st.sampled_from(RECORDED), st.lists(st.integers(0, 1_300), max_size=5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_batches_and_restarts_change_nothing(recorded, cuts, restarts):
    plan, shares, outcomes, expected = recorded
    rollout, memory, edges = begin(START, plan).rollout, RolloutMemory(), [0, *sorted(cuts), len(outcomes)]
    for first, last in pairwise(edges):
        if restarts:
            stored = msgspec.json.decode(msgspec.json.encode(rollout), type=Rollout)
            rollout, memory = stored, recall(stored, outcomes[: stored.position], plan.limits, shares)
        rollout = step(rollout, memory, outcomes[first:last], plan, shares, 0).rollout
    assert rollout == expected
    assert all(math.isfinite(guard.log_safe) for guard in rollout.guards)
