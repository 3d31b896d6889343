"""The topics of others that a project's sources name, taken into its log: what the owner of its stream work runs."""

import logging
import time
from collections.abc import Callable

from skyloom.ingest.messages import Bridge, Messages
from skyloom.kernel.errors import SkyloomError
from skyloom.kernel.locations import KafkaTopic, kafka_topic
from skyloom.kernel.records.definitions import ProjectDef, SourceDef
from skyloom.platform import Platform

_log = logging.getLogger("skyloom.bridges")

AFTER_FAULT_S = 5.0


def _kafka(place: KafkaTopic, source: str) -> Messages:
    from skyloom.stores.intake.kafka import KafkaMessages

    return KafkaMessages(place, source)


class Bridges:
    """Every bridge of a project. A topic that cannot be read is tried again later, and holds up nobody else."""

    def __init__(
        self,
        platform: Platform,
        project: ProjectDef,
        connect: Callable[[KafkaTopic, str], Messages] = _kafka,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        places = {source.name: kafka_topic(source.stream) for source in project.sources.values() if source.stream}
        self._places = {name: place for name, place in places.items() if place is not None}
        self._platform, self._project, self._connect, self._elapsed = platform, project, connect, elapsed
        self._open: dict[str, Bridge] = {}
        self._resting: dict[str, float] = {}

    def step(self) -> int:
        """One bounded step of each; how many messages were taken. Raises nothing: what fails is logged and rests."""
        return sum(self._one(self._project.sources[name], place) for name, place in self._places.items())

    def close(self) -> None:
        """Let go of all topics."""
        while self._open:
            self._open.popitem()[1].close()

    def _one(self, source: SourceDef, place: KafkaTopic) -> int:
        if self._elapsed() < self._resting.get(source.name, 0.0):
            return 0
        try:
            if source.name not in self._open:
                self._open[source.name] = self._begun(source, place)
            return self._open[source.name].step()
        except SkyloomError as error:
            _log.warning("%s: %s; trying again", source.name, error.what)
            if source.name in self._open:
                self._open.pop(source.name).close()
            self._resting[source.name] = self._elapsed() + AFTER_FAULT_S
            return 0

    def _begun(self, source: SourceDef, place: KafkaTopic) -> Bridge:
        messages = self._connect(place, source.name)
        try:
            name = f"kafka://{place.servers}/{place.topic}"
            return Bridge(source, name, messages, self._platform.log, self._platform.clock.now_ms)
        except SkyloomError:
            messages.close()
            raise
