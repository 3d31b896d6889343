"""What all tests may ask for."""

from typing import Any

from tests.services.fixtures import new_redis, redis_server

__all__ = ["new_redis", "redis_server"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say aloud which services were missing, how many tests that left out, and what to type."""
    missing: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        if "service: " in reason:
            what = reason.partition("service: ")[2]
            missing[what] = missing.get(what, 0) + 1
    for what, count in missing.items():
        terminalreporter.write_line(f"SKIPPED {count} tests: {what}", yellow=True, bold=True)
