"""What all tests may ask for, and what the report says about the services they ran on."""

from typing import Any

import pytest
from tests.services.fixtures import NOTES, kafka, kafka_broker, new_kafka, new_redis, postgresql_server, redis_server

__all__ = ["kafka", "kafka_broker", "new_kafka", "new_redis", "postgresql_server", "redis_server"]

_NOTES = "services"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Keep groups together. xdist 3.8 notes an item's group in a field that pytest 9.2 no longer reads."""
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        groups = sorted(str(mark.args[0]) for mark in item.iter_markers("xdist_group"))
        if groups and hasattr(item, "_id") and "@" not in item.nodeid.rpartition("]")[2]:
            item._id = type(item._id).parse(f"{item.nodeid}@{'_'.join(groups)}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the notes of a worker of xdist to the process that reports."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_NOTES] = session.config.stash.get(NOTES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker noted."""
    node.config.stash.setdefault(NOTES, []).extend(getattr(node, "workeroutput", {}).get(_NOTES, []))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say aloud which services were missing, how many tests that left out, and what to type."""
    missing: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        if "service: " in reason:
            what = reason.partition("service: ")[2]
            missing[what] = missing.get(what, 0) + 1
    for note in terminalreporter.config.stash.get(NOTES, []):
        terminalreporter.write_line(note)
    for what, count in missing.items():
        terminalreporter.write_line(f"SKIPPED {count} tests: {what}", yellow=True, bold=True)
