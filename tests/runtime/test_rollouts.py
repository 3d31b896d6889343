"""Steering by hand, and the judge that holds a rollout whose evidence is gone."""

import json
from typing import Any

import pytest

from skyloom.cli.main import main
from skyloom.delivery.release import current
from skyloom.kernel.errors import NotFound, Refused, SkyloomError, UsageError
from skyloom.kernel.records.release import Rollout
from skyloom.monitoring.outcomes import outcomes_end
from skyloom.platform import Platform
from skyloom.registry.champion import champion_of
from skyloom.runtime import judging
from skyloom.runtime.control import promote, reconcile, rollback, rollout_of
from skyloom.runtime.judging import Judge
from skyloom.runtime.rollouts import standing
from skyloom.runtime.training import Request, train_model

MODEL = "churn"


@pytest.fixture
def second(platform: Platform) -> Rollout:
    """A second version, let through on somebody's word, in its shadow."""
    train_model(platform, MODEL, Request({}, override="to see it"), actor="tester")
    reconcile(platform, actor="tester")
    return under_way(platform)


def under_way(platform: Platform) -> Rollout:
    found = rollout_of(platform, MODEL)
    assert found is not None
    return found


def arms(platform: Platform) -> list[tuple[int, str, int]]:
    found = current(platform.objects, platform.verifier)
    assert found is not None
    return [(arm.version, arm.role, arm.share) for arm in found[1].routes[MODEL].arms]


def run(platform: Platform, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.chdir(platform.directory)
    return main(words)


def test_the_standing_tells_stages_and_guards(platform: Platform, second: Rollout):
    stands = standing(platform, MODEL)
    assert stands.serves == 1
    assert [stage.state for stage in stands.stages] == ["now", "ahead", "ahead", "ahead", "ahead"]
    assert [guard.name for guard in stands.guards] == ["errors", "latency", "wrong_label"]
    assert all((guard.harm, guard.harm_limit, guard.safe) == (1.0, 400.0, False) for guard in stands.guards)
    rollback(platform, MODEL, actor="tester", reason="no")
    assert [stage.state for stage in standing(platform, MODEL).stages] == ["ended here", *["not reached"] * 4]


def test_a_promotion_by_hand_ends_the_rollout_and_serves_alone(platform: Platform, second: Rollout):
    assert (2, "shadow", 0) in arms(platform)
    promote(platform, MODEL, 2, actor="tester", reason="sure")
    assert arms(platform) == [(2, "champion", 10_000)]
    assert under_way(platform).state == "aborted"
    champion = champion_of(platform.metadata, MODEL)
    assert champion is not None
    assert (champion.version, champion.actor, champion.reason) == (2, "tester", "sure")


def test_a_rollback_ends_the_rollout_then_goes_back_a_champion(platform: Platform, second: Rollout):
    assert rollback(platform, MODEL, actor="tester", reason="no") == 1
    assert (under_way(platform).state, arms(platform)) == ("rolled_back", [(1, "champion", 10_000)])
    promote(platform, MODEL, 2, actor="tester", reason="yes")
    assert rollback(platform, MODEL, actor="tester", reason="no after all") == 1
    assert arms(platform) == [(1, "champion", 10_000)]
    with pytest.raises(NotFound):
        rollback(platform, MODEL, actor="tester", reason="further")


def test_a_version_that_its_gates_refused_needs_a_word_that_is_recorded(platform: Platform):
    made = train_model(platform, MODEL, Request({}), actor="tester").version
    assert not made.may_serve
    with pytest.raises(Refused, match="did not pass its gates") as refused:
        promote(platform, MODEL, 2, actor="tester", reason="please")
    assert refused.value.fix == "skyloom promote churn 2 --override --reason TEXT"
    with pytest.raises(UsageError, match="reason"):
        promote(platform, MODEL, 2, actor="tester", reason=" ", override_gates=True)
    assert arms(platform) == [(1, "champion", 10_000)]
    promote(platform, MODEL, 2, actor="tester", reason="I know better", override_gates=True)
    assert arms(platform) == [(2, "champion", 10_000)]
    assert "version.override" in {change.action for change in platform.metadata.changes("version")}


def test_the_commands(
    platform: Platform, second: Rollout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(platform, monkeypatch, "rollout", MODEL) == 0
    told = capsys.readouterr().out
    assert "v2 against v1" in told
    assert "wrong_label" in told
    assert run(platform, monkeypatch, "promote", MODEL, "2", "--reason", "sure", "--json") == 0
    assert json.loads(capsys.readouterr().out)["version"] == 2
    assert run(platform, monkeypatch, "rollback", MODEL, "--reason", "not so sure", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"model": MODEL, "serves": 1}
    assert run(platform, monkeypatch, "rollout", MODEL, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rollout"]["state"] == "aborted"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("promote", MODEL, "7", "--reason", "x"), 1, "churn has no version 7"),
        (("promote", MODEL, "two", "--reason", "x"), 2, "valid integer"),
        (("promote", MODEL, "1"), 2, "--reason"),
        (("promote", "chrun", "1", "--reason", "x"), 1, "did you mean churn?"),
        (("rollback", MODEL, "--reason", ""), 2, "needs a reason"),
        (("rollback", MODEL, "--reason", "x"), 1, "had no champion before"),
        (("rollout", "chrun"), 1, "did you mean churn?"),
    ],
)
def test_what_the_commands_refuse(
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    told: str,
):
    before = len(platform.metadata.changes())
    assert run(platform, monkeypatch, *words) == code
    assert told in capsys.readouterr().err
    assert len(platform.metadata.changes()) == before


def test_a_rollout_whose_outcomes_are_gone_is_held(platform: Platform, second: Rollout, answer: Any):
    judge = Judge(platform, MODEL)
    answer(slice(0, 200), version=2, arm="shadow")
    assert judge.look()
    judged = under_way(platform)
    with platform.online.read() as view:
        assert judged.position == outcomes_end(view, MODEL) > 200
    platform.online.drop("positions")  # as a crash of the machine may leave it
    platform.online.drop(f"outcomes/{MODEL}")
    assert not judge.look()
    held = under_way(platform)
    assert (held.state, held.position) == ("held", judged.position)
    assert "the online store holds 0: a person decides" in held.reason
    changes = len(platform.metadata.changes())
    assert not judge.look()
    assert len(platform.metadata.changes()) == changes
    assert champion_of(platform.metadata, MODEL).version == 1  # type: ignore[union-attr]


def test_what_a_failed_store_left_in_memory_is_forgotten(
    platform: Platform, second: Rollout, answer: Any, monkeypatch: pytest.MonkeyPatch
):
    answer(slice(0, 150), version=2, arm="shadow")
    judge, fresh = Judge(platform, MODEL), Judge(platform, MODEL)

    def fails(*_: Any, **__: Any) -> None:
        raise SkyloomError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(judging, "store_rollout", fails)
        with pytest.raises(SkyloomError):
            judge.look()
    assert under_way(platform).shadow_units == 0
    assert judge.look()
    counted = under_way(platform)
    assert counted.shadow_units == 150  # units that were seen in the failed look are still new
    assert not fresh.look()
    assert under_way(platform) == counted
