"""What the API counts for Prometheus: how the watch over served values fares, read from the project's state when asked.

Names follow Prometheus: base units, ``_total`` for counters.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from skyloom.monitoring.incidents import incidents
from skyloom.platform import Platform
from skyloom.runtime.state import applied
from skyloom.runtime.watched import watched

_COUNTED = (
    ("predictions", "skyloom_consistency_predictions", "Served predictions computed again from the lake"),
    ("values", "skyloom_consistency_values", "Served values compared with the lake"),
    ("unequal", "skyloom_consistency_unequal_values", "Served values that were not those of the lake"),
    ("failed", "skyloom_consistency_failed_predictions", "Served predictions that could not be computed again"),
)


class _Consistency(Collector):
    """Reads everything anew at each scrape."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def collect(self) -> Iterator[Metric]:
        names = list(applied(self._platform.metadata).project.models)
        watches = [watched(self._platform, name) for name in names]
        for field, name, described in _COUNTED:
            family = CounterMetricFamily(name, described, labels=["model"])
            for watch in watches:
                family.add_metric([watch.model], getattr(watch, field))
            yield family
        found: dict[str, Any] = {name: len(incidents(self._platform.metadata, name)) for name in names}
        family = GaugeMetricFamily(
            "skyloom_incidents", "Incidents: served values were not those of the lake", labels=["model"]
        )
        for name, count in found.items():
            family.add_metric([name], count)
        yield family


def meters(platform: Platform) -> bytes:
    """All meters in the Prometheus text format. Raises `NotFound` when nothing was applied."""
    registry = CollectorRegistry(auto_describe=False)
    applied(platform.metadata)
    registry.register(_Consistency(platform))
    return generate_latest(registry)
