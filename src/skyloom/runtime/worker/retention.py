"""What the log may forget: what is in the lake for good, once it is older or more than the profile keeps."""

import time
from typing import NamedTuple

from skyloom.kernel.units import DAY
from skyloom.platform import Platform

CONSUMER = "worker"
"""The name under which the log knows how far the worker has brought each topic into the lake."""

EVERY_S = 300.0
"""How often it looks whether there is something to forget."""

_GIGABYTE = 10**9


class Sunk(NamedTuple):
    """A partition of a topic, and the offset before which everything of it is in the lake for good."""

    topic: str
    offset: int
    partition: int = 0


class Retention:
    """Tells the log how far the lake has come, and lets it forget what is beyond the limits of the profile.

    Nothing that a consumer has not committed is forgotten. An online store that is lost later is filled from the lake as
    far as the log no longer goes back.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._told: dict[tuple[str, int], int] = {}
        self._looked = time.monotonic()

    def tell(self, *sunk: Sunk) -> None:
        """Commit where the lake stands, and look from time to time what is to be forgotten."""
        for each in sunk:
            at = (each.topic, each.partition)
            if self._told.get(at, 0) < each.offset:
                self._told[at] = self._platform.log.commit(CONSUMER, each.topic, each.offset, each.partition)
        if time.monotonic() - self._looked >= EVERY_S:
            self._looked = time.monotonic()
            self.forget([(each.topic, each.partition) for each in sunk])

    def forget(self, topics: list[tuple[str, int]]) -> None:
        """Let the log forget what is beyond the limits; a topic's gigabytes are shared out equally over its partitions."""
        kept, log = self._platform.profile.retention, self._platform.log
        days, size = kept.days, kept.gigabytes
        if not days and not size:
            return
        for topic, partition in topics:
            log.retain(
                topic,
                now_ms=self._platform.clock.now_ms(),
                max_age_ms=round(days * DAY) if days else None,
                max_bytes=round(size * _GIGABYTE / log.partitions(topic)) if size else None,
                keep_from=min(log.consumers(topic, partition).values(), default=0),
                partition=partition,
            )
