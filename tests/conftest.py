"""What all tests may ask for, and what the report says about the services they ran on."""

import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.once import made_once
from tests.services.fixtures import (
    NOTES,
    kafka,
    kafka_broker,
    new_kafka,
    new_redis,
    postgresql_server,
    promtool,
    redis_server,
)

__all__ = ["kafka", "kafka_broker", "made_once", "new_kafka", "new_redis", "postgresql_server", "promtool", "redis_server"]

_NOTES = "services"


def pytest_configure() -> None:
    """A shell that runs tests in the background ignores Ctrl-C for them, and so would all that they start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Let ``--dist loadgroup`` see the groups of tests, which share a server or a folder, and stop where it cannot.

    xdist carries a group to its scheduler in a test's id, and has no other way. Its newest release, 3.8.0, writes the id
    into a field that pytest 9.2 no longer reads, so that groups are ignored in silence: issue 1386 of pytest-xdist, open
    with its mend (1388). Its hooks offer nothing in place of it: a scheduler of one's own is given ids alone. This goes
    once a release of xdist writes them so that they are read; until then the field that pytest reads is written here.

    Tests that share what their module makes once are a group without a mark: else each worker would make it for itself.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        group = "_".join(sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")})) or _module_of(item)
        if group and not item.nodeid.endswith(f"@{group}") and hasattr(item, "_id"):
            item._id = type(item._id).parse(f"{item.nodeid}@{group}")
        if group and not item.nodeid.endswith(f"@{group}"):
            raise pytest.UsageError(
                f"{item.nodeid} is not kept with its group {group}: pytest and xdist do not fit together"
            )


def _module_of(item: Any) -> str:
    """The module of a test that takes a fixture of its module's; empty for any other test."""
    made = getattr(item, "_fixtureinfo", None)
    fixtures = [fixture for each in made.name2fixturedefs.values() for fixture in each] if made else []
    return str(item.nodeid).partition("::")[0] if any(each.scope == "module" for each in fixtures) else ""


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says a line at the end of the report: what a proof counted."""
    notes: list[str] = request.config.stash.setdefault(NOTES, [])
    return notes.append


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
