"""What a person asks of the worker: a group built again, a subject erased; audited, and done when the work has settled."""

import shutil
from typing import Any

import pytest

from skyloom.features.spaces import tiles_space
from skyloom.kernel.entity import entity_key
from skyloom.kernel.errors import DataError, NotFound
from skyloom.monitoring.outcomes import read_counts, read_outcomes
from skyloom.platform import Platform, open_platform
from skyloom.runtime.ownership import settle
from skyloom.runtime.skew import check_skew
from skyloom.runtime.state import applied
from skyloom.runtime.worker import Progress, erase, progress_of, rebuild


def test_a_group_that_is_built_again_ends_as_it_was(platform: Platform) -> None:
    project = applied(platform.metadata).project
    settle(platform, project)
    space = tiles_space(project.groups["activity"])
    with platform.online.read() as view:
        before = dict(view.scan(space))
    end = platform.log.end("events/visits")
    assert rebuild(platform, "activity") == Progress("activity", 0, end, False)
    assert rebuild(platform, "activity") == Progress("activity", 0, end, False)
    settle(platform, project)
    assert progress_of(platform, "activity") == Progress("activity", end, end, True)
    with platform.online.read() as view:
        assert dict(view.scan(space)) == before
        assert not list(view.scan(f"{space}/again"))


def test_a_subject_is_erased_from_lake_and_tiles_and_the_asking_is_audited(platform: Platform) -> None:
    project = applied(platform.metadata).project
    settle(platform, project)
    customer = platform.lake.read("events/visits").column("customer_id")[0].as_py()
    version = platform.lake.version("events/visits")
    asked = erase(platform, "visits", "customer_id", [customer], actor="ada")
    settle(platform, project)
    assert not len(platform.lake.read("events/visits", where=[("customer_id", "=", customer)]))
    assert len(platform.lake.read("events/visits", where=[("customer_id", "=", customer)], version=version))
    with platform.online.read() as view:
        assert view.get(tiles_space(project.groups["activity"]), entity_key(customer)) is None
    change = platform.metadata.changes("erasure", asked.id)[0]
    assert (change.actor, change.action) == ("ada", "erase events")


def test_what_cannot_be_asked_is_refused_with_what_could_be(platform: Platform) -> None:
    with pytest.raises(NotFound, match="did you mean activity"):
        rebuild(platform, "activty")
    with pytest.raises(NotFound, match="did you mean visits"):
        erase(platform, "visit", "customer_id", ["c"], actor="ada")
    with pytest.raises(NotFound, match="did you mean customer_id"):
        erase(platform, "visits", "customer", ["c"], actor="ada")
    with pytest.raises(DataError, match="cannot name what is to be erased"):
        erase(platform, "visits", "minutes", [1], actor="ada")
    with pytest.raises(DataError, match="cannot name what is to be erased"):
        erase(platform, "visits", "customer_id", [], actor="ada")
    assert platform.log.end("erasures") == 0


def test_outcomes_of_a_lost_store_come_from_the_lake_where_the_log_was_cut(platform: Platform, answer: Any) -> None:
    answer(slice(0, 40))
    project = applied(platform.metadata).project
    with platform.online.read() as view:
        expected, counts = read_outcomes(view, "churn", 0), read_counts(view, "churn")
    assert counts.labelled
    for topic in ("predictions/churn", "events/visits", "events/renewals", "events/decisions"):
        assert platform.log.committed("worker", topic) == platform.log.end(topic) > 0
        platform.log.truncate(topic, platform.log.end(topic))
    platform.online.close()
    shutil.rmtree(platform.state / "online")
    again = open_platform(platform.directory)
    settle(again, project)
    with again.online.read() as view:
        assert set(read_outcomes(view, "churn", 0)) == set(expected)
        assert (read_counts(view, "churn").labelled, read_counts(view, "churn").served) == (counts.labelled, counts.served)
    assert check_skew(again, "churn").differences == ()


def test_a_lake_does_not_follow_another_log(platform: Platform) -> None:
    project = applied(platform.metadata).project
    settle(platform, project)
    platform.log.close()
    shutil.rmtree(platform.state / "log")
    with pytest.raises(DataError, match="was filled from another log"):
        settle(open_platform(platform.directory), project)
