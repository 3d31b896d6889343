"""Who answers whom, and how often: testers choose a version, keys have rates and quotas, shadows are never waited for."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from load import tell
from serving_world import NOW, Arm, World, mint, until

from skyloom.kernel.records.release import KeyDigest
from skyloom.serving.ratelimit import Rates
from skyloom.serving.wire import Problem

FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, windowed=False)


def test_testers_choose_who_answers_and_are_no_evidence(world: World, launch: Any) -> None:
    tester, stored = mint(["predict", "pin"])
    user, other = mint(["predict"])
    bases = {"champion": (1, 0.25, 10_000), "canary": (2, 0.5, 0), "shadow": (3, 0.75, 0)}
    arms = tuple(Arm(version, world.package(base), share, role) for role, (version, base, share) in bases.items())
    world.publish(world.release({"late": arms}, (stored, other)))
    server = launch(world, tester)
    for role, (version, base, _) in bases.items():
        for header in ({"X-Skyloom-Arm": role}, {"X-Skyloom-Version": str(version)}):
            status, answer = server.ask("POST", "/predict/late", FLIGHT, header)
            assert (status, answer["version"], answer["score"]) == (200, version, base)
    for header in ({"X-Skyloom-Arm": "canary"}, {"X-Skyloom-Version": "1"}):
        status, answer = server.ask("POST", "/predict/late", FLIGHT, header, key=user)
        assert (status, "may not pin" in answer["error"]) == (403, True)
    status, answer = server.ask("POST", "/predict/late", FLIGHT, {"X-Skyloom-Version": "9"})
    assert (status, "2 (canary)" in answer["error"]) == (404, True)
    assert server.ask("POST", "/predict/late", FLIGHT, key=user)[1]["version"] == 1
    assert server.end() == 0
    seen = Counter((each.version, each.arm) for each in world.receipts())
    assert seen == {(1, "pinned"): 2, (2, "pinned"): 2, (3, "pinned"): 2, (1, "champion"): 1, (3, "shadow"): 1}


def test_a_quota_holds_over_all_processes_and_their_ends(world: World, launch: Any) -> None:
    key, stored = mint(["predict"], per_day=5)
    free, unlimited = mint(["predict"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored, unlimited)))
    one, two = launch(world, key), launch(world, key)
    asked = [server.ask("POST", "/predict/late", FLIGHT)[0] for server in (one, two, one)]
    assert one.end() == 0
    one = launch(world, key)
    asked += [server.ask("POST", "/predict/late", FLIGHT)[0] for server in (one, two, one, two)]
    tell(f"{len(asked)} requests of a key with 5 a day: {Counter(asked)}")
    assert asked == [200] * 5 + [429] * 2
    assert one.ask("POST", "/predict/late", FLIGHT, key=free)[0] == 200
    assert (one.end(), two.end()) == (0, 0)


def refused_by(rates: Rates, key: KeyDigest) -> Problem | None:
    try:
        rates.take(key)
    except Problem as problem:
        return problem
    return None


@given(st.floats(0.5, 50), st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_a_rate_lets_through_no_more_than_it_says_and_never_less(per_second: float, pauses: list[float]) -> None:
    """Beside a leaky bucket that is kept in another way: how full it is, not when the next request is due."""
    now, full, last = 1_000.0, 0.0, 1_000.0
    rates = Rates(None, lambda: now)
    key, most = KeyDigest("abcdefgh", "", (), per_second), max(per_second, 1.0)
    for pause in pauses:
        now += pause
        full, last = max(full - (now - last) * per_second, 0.0), now
        fits = full + 1 - most
        problem = refused_by(rates, key)
        if problem is None:
            assert fits < 1e-6
            full += 1
        else:
            assert fits > -1e-6
            assert (problem.status, problem.retry_s) == (429, pytest.approx(fits / per_second, abs=1e-5))
    rates.close()


def test_days_of_a_quota_are_those_of_utc() -> None:
    now = 86_400.0 - 10
    rates = Rates(None, lambda: now)
    key = KeyDigest("abcdefgh", "", (), per_day=1)
    rates.take(key)
    with pytest.raises(Problem, match="requests of today") as refused:
        rates.take(key)
    assert refused.value.retry_s == 10.0
    now += 10
    rates.take(key)
    rates.close()


def test_a_shadow_that_cannot_keep_up_is_dropped_counted_and_never_waited_for(world: World, launch: Any) -> None:
    key, stored = mint(["admin"])
    arms = (
        Arm(1, world.package(0.25), 10_000, "champion"),
        Arm(2, world.package(0.5, "slow 100000"), 0, "shadow"),
    )
    world.publish(world.release({"late": arms}, (stored,)))
    server = launch(world, key, limits={"shadow": 3})
    assert {server.ask("POST", "/predict/late", FLIGHT)[0] for _ in range(60)} == {200}

    def told(name: str) -> int:
        lines = server.ask("GET", "/metrics")[1].splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))

    scored = 'skyloom_predictions_total{arm="shadow"'
    until(lambda: told("skyloom_shadow_dropped_total") + told(scored) == 60)
    tell(f"60 answers; shadow: {told('skyloom_shadow_dropped_total')} dropped, {told(scored)} scored")
    assert told("skyloom_shadow_dropped_total") > 0
    assert server.end() == 0
