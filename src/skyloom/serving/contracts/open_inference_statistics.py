"""Triton's statistics: what was asked through the Open Inference Protocol since this process began."""

import time
from typing import Any


class _Kept:
    def __init__(self) -> None:
        self.rows = self.requests = self.last_ms = 0
        self.done_ns = self.failed = self.failed_ns = 0


class Statistics:
    """Counts by model and version. To be used from one event loop.

    >>> statistics = Statistics()
    >>> statistics.answered("m", "1", rows=2, ns=1_000)
    >>> statistics.told([("m", "1")])[0]["inference_count"]
    2
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}

    def answered(self, model: str, version: str, *, rows: int, ns: int) -> None:
        """Count a request that was answered, by its ``rows`` and the time it took."""
        kept = self._kept.setdefault((model, version), _Kept())
        kept.rows += rows
        kept.requests += 1
        kept.done_ns += ns
        kept.last_ms = time.time_ns() // 1_000_000

    def failed(self, model: str, version: str, *, ns: int) -> None:
        """Count a request that was not."""
        kept = self._kept.setdefault((model, version), _Kept())
        kept.failed += 1
        kept.failed_ns += ns

    def told(self, models: list[tuple[str, str]]) -> list[dict[str, Any]]:
        """The statistics of (model, version) pairs: one execution for each request, ``inference_count`` counts rows."""
        return [self._told(model, version, self._kept.get((model, version)) or _Kept()) for model, version in models]

    def _told(self, model: str, version: str, kept: _Kept) -> dict[str, Any]:
        none = {"count": 0, "ns": 0}
        done = {"count": kept.requests, "ns": kept.done_ns}
        return {
            "name": model,
            "version": version,
            "last_inference": kept.last_ms,
            "inference_count": kept.rows,
            "execution_count": kept.requests,
            "inference_stats": {
                "success": done,
                "fail": {"count": kept.failed, "ns": kept.failed_ns},
                "queue": none,
                "compute_input": none,
                "compute_infer": done,
                "compute_output": none,
                "cache_hit": none,
                "cache_miss": none,
            },
            "batch_stats": [],
        }
