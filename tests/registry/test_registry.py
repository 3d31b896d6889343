"""Runs, versions, champions."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyloom import registry
from skyloom.kernel.errors import Conflict, NotFound, Refused, UsageError
from skyloom.kernel.records.registry import GateResult, Override, Run, Version
from skyloom.registry import (
    Champion,
    champion_of,
    champions,
    crown,
    fail,
    get_run,
    get_version,
    list_runs,
    list_versions,
    override,
    predecessor,
    start,
)


def finish(metadata, run, *, actor):
    with metadata.transaction(actor) as transaction:
        return registry.finish(transaction, run)


def register(metadata, version, *, actor):
    with metadata.transaction(actor) as transaction:
        return registry.register(transaction, version)


def _run(id: str = "run_1", model: str = "m", started_ms: int = 1) -> Run:
    return Run(id=id, model=model, status="new", started_ms=started_ms)


def _version(run: str, *, gated: bool = True, model: str = "m") -> Version:
    gates = (GateResult("auc", gated, "0.5", "0.6", "too low"),)
    return Version(model=model, number=0, run=run, package="d", created_ms=1, gates=gates, gated=gated)


def _champion(version: int, reason: str = "passed") -> Champion:
    return Champion("m", version, 10, "ann", reason)


def test_a_run_ends_once(metadata):
    run = start(metadata, _run(), actor="ann")
    assert get_run(metadata, "run_1").status == "running"
    with pytest.raises(Conflict):
        start(metadata, _run(), actor="ann")
    finish(metadata, run, actor="ann")
    assert get_run(metadata, "run_1").status == "done"
    with pytest.raises(Conflict, match="ended already: done"):
        fail(metadata, run, "late", 5, actor="ann")
    assert get_run(metadata, "run_1").status == "done"


def test_a_failed_run_keeps_its_error_and_its_start(metadata):
    run = start(metadata, _run(started_ms=7), actor="ann")
    fail(metadata, run, "ValueError: no", 9, actor="ann")
    kept = get_run(metadata, "run_1")
    assert (kept.status, kept.error, kept.started_ms, kept.finished_ms) == ("failed", "ValueError: no", 7, 9)


def test_runs_are_listed_by_model_oldest_first(metadata):
    for id, model, at in (("run_b", "m", 3), ("run_a", "m", 5), ("run_c", "other", 1)):
        start(metadata, _run(id, model, at), actor="ann")
    assert [run.id for run in list_runs(metadata, "m")] == ["run_b", "run_a"]
    assert [run.id for run in list_runs(metadata)] == ["run_c", "run_b", "run_a"]
    with pytest.raises(NotFound):
        get_run(metadata, "run_z")


def test_versions_are_numbered_without_a_gap_and_once_for_a_run(metadata):
    numbers = [register(metadata, _version(run), actor="ann").number for run in ("a", "b", "a", "c", "c")]
    assert numbers == [1, 2, 1, 3, 3]
    assert [version.number for version in list_versions(metadata, "m")] == [1, 2, 3]


def test_models_whose_names_begin_alike_are_counted_apart(metadata):
    register(metadata, _version("a", model="late"), actor="ann")
    assert register(metadata, _version("b", model="late_arrival"), actor="ann").number == 1
    assert len(list_versions(metadata, "late")) == 1


def test_what_failed_its_gates_may_not_be_champion_until_a_person_overrides(metadata):
    register(metadata, _version("a", gated=False), actor="ann")
    with pytest.raises(Refused, match="auc: too low"):
        crown(metadata, _champion(1), instead_of=None)
    assert champion_of(metadata, "m") is None
    with pytest.raises(UsageError):
        override(metadata, "m", 1, Override("bob", 3, " "), actor="bob")
    override(metadata, "m", 1, Override("bob", 3, "a drill"), actor="bob")
    crown(metadata, _champion(1), instead_of=None)
    assert get_version(metadata, "m", 1).override == Override("bob", 3, "a drill")
    assert champion_of(metadata, "m") == _champion(1)


def test_a_champion_is_replaced_only_by_who_knows_the_present_one(metadata):
    for run in "ab":
        register(metadata, _version(run), actor="ann")
    crown(metadata, _champion(1), instead_of=None)
    with pytest.raises(Conflict, match="is v1, not nobody"):
        crown(metadata, _champion(2), instead_of=None)
    with pytest.raises(NotFound):
        crown(metadata, _champion(9), instead_of=1)
    crown(metadata, _champion(2, "better"), instead_of=1)
    assert champions(metadata, "m") == [_champion(1), _champion(2, "better")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.booleans(), min_size=1, max_size=15))
def test_a_rollback_never_returns_to_what_was_rolled_back(metadata, moves):
    """Against a stack: promoting pushes a new version, rolling back pops."""
    metadata.__init__()
    stack: list[int] = []
    for promote in moves:
        now = stack[-1] if stack else None
        if promote:
            number = register(metadata, _version(f"run{len(metadata.log)}"), actor="ann").number
            stack.append(number)
        elif len(stack) < 2:
            with pytest.raises(NotFound):
                predecessor(metadata, "m")
            continue
        else:
            stack.pop()
            number = predecessor(metadata, "m").version
        crown(metadata, _champion(number), instead_of=now)
        assert champion_of(metadata, "m").version == stack[-1]
