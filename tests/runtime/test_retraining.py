"""Retraining by policy, over a real project: when it begins, what it waits for, how it ends."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from skyloom.kernel.records.registry import Run
from skyloom.kernel.records.release import RetrainState
from skyloom.kernel.units import DAY
from skyloom.platform import Platform
from skyloom.ports.compute import Job, JobResult
from skyloom.registry.champion import champion_of
from skyloom.registry.runs import list_runs
from skyloom.registry.versions import list_versions
from skyloom.runtime.admission import is_training, training_place
from skyloom.runtime.control import promote, release_version, rollback, rollout_of
from skyloom.runtime.retrain_job import ACTOR, Event, written
from skyloom.runtime.retraining import KIND, Retrainer, Retraining, retraining_of
from skyloom.runtime.state import write
from skyloom.runtime.training import Request, train_model

MODEL = "churn"
PATIENCE_S = 60.0


class ScriptedCompute:
    """Runs no process: says the lines of the next script for a kind of work, and remembers what it was asked to run."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.scripts: dict[str, list[Event]] = {}

    @property
    def trainings(self) -> int:
        return sum(job.command[-1] == "train" for job in self.jobs)

    def run(self, job: Job, on_line: Callable[[str], None] | None = None) -> JobResult:
        self.jobs.append(job)
        for event in self.scripts.get(job.command[-1], []):
            for line in written(event).splitlines():
                (on_line or print)(line)
        return JobResult(0, "", 0.0)


@pytest.fixture
def compute(platform: Platform) -> ScriptedCompute:
    scripted = ScriptedCompute()
    vars(platform)["compute"] = scripted
    return scripted


def until(retrainer: Retrainer, platform: Platform, *states: str) -> RetrainState:
    """Look until the model is in one of the states."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := retraining_of(platform, MODEL).state).state not in states:
        assert time.monotonic() < deadline, found
        retrainer.look()
        time.sleep(0.001)
    return found


def looks(retrainer: Retrainer, count: int = 30) -> None:
    for _ in range(count):
        retrainer.look()
        time.sleep(0.001)


def keep(platform: Platform, kept: Retraining) -> None:
    with platform.metadata.transaction("tester") as transaction:
        write(transaction, KIND, MODEL, kept, action="set")


def in_state(platform: Platform, state: str, **more: Any) -> None:
    now = platform.clock.now_ms()
    keep(platform, Retraining(RetrainState(state=state, since_ms=now, trained_ms=now), **more))


def trained_by_hand(platform: Platform, **more: Any) -> None:
    now = platform.clock.now_ms()
    with platform.metadata.transaction("somebody") as transaction:
        write(transaction, "run", "run_x", Run("run_x", MODEL, "done", now, now, **more), action="run.finish")


def pass_days(platform: Platform, days: float) -> None:
    clock: Any = platform.clock
    clock.advance_to(clock.now_ms() + round(days * DAY))


def test_a_week_without_training_retrains_in_a_real_process(platform: Platform):
    retrainer = Retrainer(platform, "local", look_s=0.0)
    pass_days(platform, 27)
    looks(retrainer)
    assert retraining_of(platform, MODEL).state.state == "healthy"
    pass_days(platform, 2)
    until(retrainer, platform, "suspect")
    state = until(retrainer, platform, "cooldown")
    assert "not shown to be better" in state.reason  # on the same data it cannot be
    assert state.rejections == 1
    assert [version.gated for version in list_versions(platform.metadata, MODEL)] == [True, False]
    done = list_runs(platform.metadata, MODEL)[-1]
    assert done.status == "done"
    assert ACTOR in {change.actor for change in platform.metadata.changes("run", done.id)}
    assert not is_training(platform, MODEL)
    pass_days(platform, 10.1)  # the bound of the labels, as no delay was seen
    assert until(retrainer, platform, "healthy").trained_ms == state.trained_ms
    looks(retrainer)
    assert len(list_runs(platform.metadata, MODEL)) == 2


def test_nothing_begins_while_a_rollout_or_a_training_is_under_way(platform: Platform, compute: ScriptedCompute):
    retrainer = Retrainer(platform, "local", look_s=0.0)
    with training_place(platform, MODEL):
        pass_days(platform, 40)
        looks(retrainer)
    again = train_model(platform, MODEL, Request({}, override="to see"), actor="tester")
    assert again.version.number == 2
    assert rollout_of(platform, MODEL).state == "shadow"  # type: ignore[union-attr]
    pass_days(platform, 40)
    looks(retrainer)
    assert compute.jobs == []
    assert retraining_of(platform, MODEL).state.state == "healthy"


def test_a_training_by_hand_counts(platform: Platform, compute: ScriptedCompute):
    pass_days(platform, 29)
    trained_by_hand(platform)
    looks(Retrainer(platform, "local", look_s=0.0))
    assert compute.jobs == []


def test_a_loop_that_is_not_due_costs_no_write(platform: Platform, compute: ScriptedCompute):
    looks(Retrainer(platform, "local", look_s=0.0))
    before = len(platform.metadata.changes())
    looks(Retrainer(platform, "local", look_s=0.0))
    assert len(platform.metadata.changes()) == before


def test_matured_labels_that_say_worse_retrain_when_a_second_cohort_says_so(
    platform: Platform, compute: ScriptedCompute, answer: Any
):
    retrainer = Retrainer(platform, "local", look_s=0.0)
    answer(slice(0, 600))
    looks(retrainer)
    assert retraining_of(platform, MODEL).state.state == "healthy"  # as good as promised
    answer(slice(600, 1300), score=lambda score: 1 - score)
    assert until(retrainer, platform, "suspect").reason == "matured labels show a loss of performance"
    looks(retrainer)
    assert retraining_of(platform, MODEL).state.state == "suspect"  # the same evidence is not heard twice
    compute.scripts["train"] = [Event("data_passed"), Event("trained", version=2), Event("rejected", "no better")]
    answer(slice(1300, 2000), score=lambda score: 1 - score)
    assert until(retrainer, platform, "cooldown").reason == "no better"
    assert compute.trainings == 1


def test_a_suspicion_that_a_second_cohort_does_not_confirm_is_dropped(
    platform: Platform, compute: ScriptedCompute, answer: Any
):
    retrainer = Retrainer(platform, "local", look_s=0.0)
    answer(slice(0, 700), score=lambda score: 1 - score)
    until(retrainer, platform, "suspect")
    answer(slice(700, 1400))
    assert until(retrainer, platform, "healthy").reason == "the trigger was not confirmed"
    assert compute.trainings == 0


def test_drift_is_looked_for_when_the_scores_promise_a_loss_and_alone_it_is_nothing(
    platform: Platform, compute: ScriptedCompute, answer: Any
):
    retrainer = Retrainer(platform, "local", look_s=0.0)
    flat = 0.11
    compute.scripts = {"drift": [Event("steady")], "train": [Event("data_failed", "minutes are missing")]}
    answer(slice(0, 600), labels=False, score=lambda score: flat)
    looks(retrainer)
    assert [job.command[-1] for job in compute.jobs] == ["drift"]
    assert retraining_of(platform, MODEL).state.state == "healthy"
    compute.scripts["drift"] = [Event("drifted", "price")]
    answer(slice(600, 1200), labels=False, score=lambda score: flat)
    until(retrainer, platform, "suspect")
    answer(slice(1200, 1800), labels=False, score=lambda score: flat)
    assert until(retrainer, platform, "data_blocked").reason == "minutes are missing"
    assert [job.command[-1] for job in compute.jobs] == ["drift", "drift", "drift", "train"]


@pytest.mark.parametrize(
    ("script", "state", "reason"),
    [
        ([Event("data_failed", "nothing but nulls")], "data_blocked", "nothing but nulls"),
        ([Event("data_passed"), Event("training_failed", "one class")], "cooldown", "one class"),
        ([Event("data_passed")], "cooldown", "it ended without a word: "),
        ([], "cooldown", "it ended without a word: "),
    ],
)
def test_how_a_training_can_end(platform: Platform, compute: ScriptedCompute, script: list[Event], state: str, reason: str):
    compute.scripts["train"] = script
    in_state(platform, "data_check")
    assert until(Retrainer(platform, "local", look_s=0.0), platform, state).reason == reason


def test_a_training_that_nobody_watched_over_has_failed(platform: Platform, compute: ScriptedCompute):
    in_state(platform, "train")
    assert "interrupted" in until(Retrainer(platform, "local", look_s=0.0), platform, "cooldown").reason


def test_the_budget_holds_a_retraining_back(platform: Platform, compute: ScriptedCompute):
    pass_days(platform, 1)
    trained_by_hand(platform, cpu_seconds=5_000.0)  # one US dollar each
    in_state(platform, "data_check")
    state = until(Retrainer(platform, "local", look_s=0.0), platform, "data_blocked")
    assert state.reason.startswith("the budget of 1,000.00 USD")
    assert compute.jobs == []


def test_the_version_is_followed_to_its_end(platform: Platform, compute: ScriptedCompute):
    made = train_model(platform, MODEL, Request({}, override="to see", release=False), actor="tester").version
    release_version(platform, made, actor="tester")
    retrainer = Retrainer(platform, "local", look_s=0.0)
    in_state(platform, "shadow", version=2)
    looks(retrainer)
    assert retraining_of(platform, MODEL).state.state == "shadow"
    promote(platform, MODEL, 2, actor="tester", reason="seen enough")
    assert until(retrainer, platform, "bake").promotions_ms != ()
    assert rollback(platform, MODEL, actor="tester", reason="it was not") == 1
    assert until(retrainer, platform, "cooldown").reason == "v2 does not serve any more"


def test_a_rollout_that_was_rolled_back_is_a_failure(platform: Platform, compute: ScriptedCompute):
    made = train_model(platform, MODEL, Request({}, override="to see", release=False), actor="tester").version
    release_version(platform, made, actor="tester")
    in_state(platform, "shadow", version=2)
    rollback(platform, MODEL, actor="tester", reason="no")
    state = until(Retrainer(platform, "local", look_s=0.0), platform, "cooldown")
    assert state.reason == "rolled back by hand: no"
    assert champion_of(platform.metadata, MODEL).version == 1  # type: ignore[union-attr]


def test_a_training_by_hand_resumes_what_waits_for_a_human(platform: Platform, compute: ScriptedCompute):
    in_state(platform, "human")
    retrainer = Retrainer(platform, "local", look_s=0.0)
    looks(retrainer)
    assert retraining_of(platform, MODEL).state.state == "human"
    pass_days(platform, 1)
    trained_by_hand(platform)
    assert until(retrainer, platform, "healthy").reason == "somebody trained it"
