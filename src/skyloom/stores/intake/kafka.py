"""Messages of a topic of a Kafka broker that is somebody else's."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skyloom.ingest.messages import Message, Messages
from skyloom.kernel.errors import MissingExtra, Transient, UsageError
from skyloom.kernel.locations import KafkaTopic, resolved

LOOK_S = 30.0
"""How often it looks for partitions that are new."""
_PATIENCE_S = 10.0
_OURS = {"bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"}


class KafkaMessages:
    """All partitions of a topic, assigned by ourselves (no rebalancing), from the positions that we keep. Where the broker
    no longer holds a position, its oldest message is next. Not for several threads."""

    def __init__(self, place: KafkaTopic, source: str) -> None:
        try:
            import confluent_kafka
        except ModuleNotFoundError as error:
            raise MissingExtra("confluent_kafka", "kafka") from error
        clash = sorted(_OURS & place.settings.keys())
        if clash:
            raise UsageError(f"the stream of {source} cannot set {clash[0]}", fix="leave it out of the address")
        self._kafka: Any = confluent_kafka
        self._topic = place.topic
        settings = {name: resolved(value) for name, value in place.settings.items()}
        ours = {"bootstrap.servers": place.servers, "group.id": place.group or f"skyloom-{source}"}
        try:
            self._consumer: Any = confluent_kafka.Consumer(
                {**settings, **ours, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
            )
        except self._kafka.KafkaException as error:
            raise UsageError(f"the stream of {source}: {error.args[0].str()}", fix="see librdkafka's settings") from error
        self._assigned: dict[int, int] = {}
        self._looked = 0.0

    def identity(self) -> str:
        """The topic in its cluster, as the cluster calls itself."""
        return f"{self._listed().cluster_id}/{self._topic}"

    def begin(self, positions: dict[int, int]) -> None:
        """Read from these positions on."""
        self._assign({each: positions.get(each, 0) for each in self._partitions()})

    def take(self, most: int) -> Sequence[Message]:
        """Messages that have come."""
        if time.monotonic() - self._looked > LOOK_S:
            fresh = set(self._partitions()) - self._assigned.keys()
            if fresh:
                self._assign({**self._assigned, **dict.fromkeys(fresh, 0)})
        found: list[Message] = []
        for message in self._asked(self._consumer.consume, most, 0):
            if message.error() is not None:
                raise Transient(f"the topic {self._topic} cannot be read: {message.error().str()}", fix="see its broker")
            found.append(Message(message.partition(), message.offset(), message.value()))
            self._assigned[message.partition()] = message.offset() + 1
        return found

    def passed(self, positions: dict[int, int]) -> None:
        """Commit to the group, without waiting."""
        self._asked(self._consumer.commit, offsets=self._at(positions), asynchronous=True)

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _partitions(self) -> list[int]:
        self._looked = time.monotonic()
        found = self._listed().topics[self._topic]
        if found.error is not None:
            raise Transient(f"the topic {self._topic} cannot be read: {found.error.str()}", fix="see its broker")
        return sorted(found.partitions)

    def _listed(self) -> Any:
        return self._asked(self._consumer.list_topics, self._topic, _PATIENCE_S)

    def _assign(self, positions: dict[int, int]) -> None:
        self._asked(self._consumer.assign, self._at(positions))
        self._assigned = positions

    def _at(self, positions: dict[int, int]) -> list[Any]:
        return [self._kafka.TopicPartition(self._topic, each, offset) for each, offset in sorted(positions.items())]

    def _asked(self, call: Any, *words: Any, **named: Any) -> Any:
        try:
            return call(*words, **named)
        except self._kafka.KafkaException as error:
            raise Transient(
                f"the topic {self._topic} cannot be read: {error.args[0].str()}", fix="see its broker"
            ) from error


if TYPE_CHECKING:
    _messages: Messages = KafkaMessages(KafkaTopic("", "", None, {}), "")
