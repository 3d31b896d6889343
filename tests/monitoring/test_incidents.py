"""Incidents: recorded once, audited, and no flood."""

from pathlib import Path

import pytest

from skyloom.kernel.clock import ManualClock
from skyloom.monitoring.incidents import QUIET_MS, Difference, incidents, report
from skyloom.stores.metadata.sqlite import SqliteMetadata

START = 1_700_000_000_000


@pytest.fixture
def metadata(tmp_path: Path) -> SqliteMetadata:
    return SqliteMetadata(tmp_path / "metadata.db", ManualClock(START))


def differences(*receipts: str) -> list[Difference]:
    return [Difference(receipt, name, 1.0, None) for receipt in receipts for name in ("x", "y")]


def test_what_differs_is_recorded_once_and_audited(metadata: SqliteMetadata):
    found = report(metadata, "m", differences("a", "b"), actor="watch", now_ms=START)
    assert found is not None
    assert (found.receipts, found.values, found.found_by) == (("a", "b"), 4, "watch")
    later = START + QUIET_MS
    assert report(metadata, "m", differences("b", "a"), actor="eve", now_ms=later) is None
    assert report(metadata, "m", [], actor="eve", now_ms=later) is None
    assert incidents(metadata) == incidents(metadata, "m") == [found]
    assert [(change.actor, change.action) for change in metadata.changes("incident")] == [("watch", "incident.found")]
    more = report(metadata, "m", differences("a", "c"), actor="eve", now_ms=later)
    assert more is not None
    assert (more.receipts, more.values) == (("c",), 2)
    assert incidents(metadata, "m") == [found, more]


def test_a_fault_that_goes_on_is_one_incident_in_ten_minutes(metadata: SqliteMetadata):
    found = [
        report(metadata, "m", differences(f"r{second}"), actor="watch", now_ms=START + second * 1_000)
        for second in range(0, 1_800, 5)
    ]
    assert sum(each is not None for each in found) == 3
    assert report(metadata, "other", differences("z"), actor="watch", now_ms=START + 1_000) is not None


def test_models_with_names_that_begin_alike_are_apart(metadata: SqliteMetadata):
    report(metadata, "late", differences("a"), actor="watch", now_ms=START)
    report(metadata, "late2", differences("b"), actor="watch", now_ms=START)
    assert [each.receipts for each in incidents(metadata, "late")] == [("a",)]


def test_an_incident_stays_small(metadata: SqliteMetadata):
    found = report(metadata, "m", differences(*(f"r{number}" for number in range(2_000))), actor="watch", now_ms=START)
    assert found is not None
    assert (len(found.receipts), len(found.differences), found.values) == (1_000, 50, 4_000)
