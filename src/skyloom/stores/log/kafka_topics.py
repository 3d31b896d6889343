"""Kafka's topics and the positions of its consumer groups, by their names there."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from skyloom.kernel.errors import Transient
from skyloom.stores.log.kafka_clients import LARGEST, Clients, explained, translated

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition

_T = TypeVar("_T")
_BITS = 20
_FOR_EVER = "-1"
_MADE_WITH = {
    "cleanup.policy": "delete",
    "retention.ms": _FOR_EVER,
    "retention.bytes": _FOR_EVER,
    "max.message.bytes": str(LARGEST),
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str((1 << 63) - 1),
}
_PAUSE_S = 0.02


class Topics:
    """Which topics there are. Remembers those it has seen, whose number of partitions does not change."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._patience_s = clients.settings.patience_s
        self._counts: dict[str, int] = {}

    def partitions(self, topic: str) -> int | None:
        """The number of partitions, or `None` for a topic that is not there (yet everywhere)."""
        asker = self._clients.asker()
        if topic not in self._counts:
            with translated(f"asking for {topic}"):
                found = asker.list_topics(topic, timeout=self._patience_s).topics[topic]
            parts = found.partitions.values()
            if found.error is not None or not parts or any(part.leader < 0 for part in parts):
                return None
            self._counts[topic] = len(parts)
        return self._counts[topic]

    def make(self, topic: str, partitions: int) -> int:
        """Make a topic that is not there; the number of partitions that it has."""
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.cimpl import NewTopic

        there = self.partitions(topic)
        if there is not None:
            return there
        settings = self._clients.settings
        new = NewTopic(topic, partitions, settings.replication, config={**_MADE_WITH, **dict(settings.topic)})
        with translated(f"making {topic}"):
            try:
                self._clients.admin().create_topics([new])[topic].result(self._patience_s)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
        return _eventually(lambda: self.partitions(topic), self._patience_s, f"{topic} was made and is not there")

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """The offsets of the first message that is kept and after the last one."""
        from confluent_kafka import TopicPartition

        asker = self._clients.asker()
        with translated(f"asking for the end of {topic}"):
            found = asker.get_watermark_offsets(TopicPartition(topic, partition), timeout=self._patience_s)
        return found

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Forget the messages below an offset."""
        from confluent_kafka import TopicPartition

        with translated(f"forgetting the oldest of {topic}"):
            for done in self._clients.admin().delete_records([TopicPartition(topic, partition, offset)]).values():
                done.result(self._patience_s)


class Positions:
    """Positions of consumers: Kafka's committed offset, and the exact one in its metadata."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._patience_s = clients.settings.patience_s

    def committed(self, group: str, place: "TopicPartition") -> int | None:
        """The position of a group, if it has one."""
        member = self._clients.member(group)
        with translated(f"asking for the position of {group}"):
            [stored] = _coordinated(lambda: member.committed([place], timeout=self._patience_s), self._patience_s)
        if stored.error is not None:
            raise explained(stored.error, f"asking for the position of {group}")
        if stored.offset < 0:
            return None
        exact = stored.metadata or ""
        return int(exact) if exact.isdecimal() else stored.offset << _BITS

    def commit(self, group: str, place: "TopicPartition", offset: int) -> int:
        """Move a position forward; where it is then."""
        from confluent_kafka import TopicPartition

        stands = self.committed(group, place)
        if stands is not None and stands >= offset:
            return stands
        # What is begun counts as read for Kafka's own tools: their lag is 0 once ours is.
        message = -(-offset >> _BITS)
        new = TopicPartition(place.topic, place.partition, message, str(offset))
        member = self._clients.member(group)
        with translated(f"committing the position of {group}"):
            done = _coordinated(lambda: member.commit(offsets=[new], asynchronous=False), self._patience_s)
        for each in done or []:
            if each.error is not None:
                raise explained(each.error, f"committing the position of {group}")
        return offset

    def consumers(self, place: "TopicPartition") -> dict[str, int]:
        """The positions of all groups under our prefix, by the names of their consumers."""
        with translated("asking for consumer groups"):
            listed = self._clients.admin().list_consumer_groups().result(self._patience_s)
        found: dict[str, int] = {}
        for group in listed.valid or []:
            name = self._clients.settings.original(group.group_id)
            position = None if name is None else self.committed(group.group_id, place)
            if name is not None and position is not None:
                found[name] = position
        return found


def _coordinated(ask: Callable[[], _T], patience_s: float) -> _T:
    """Ask again while the brokers find out who keeps a group's positions: after they began, and on a group's first use."""
    from confluent_kafka import KafkaError, KafkaException

    finding = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in finding or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


def _eventually(found: Callable[[], _T | None], patience_s: float, why: str) -> _T:
    """Ask again until the brokers have told each other."""
    deadline = time.monotonic() + patience_s
    while (result := found()) is None:
        if time.monotonic() > deadline:
            raise Transient(why, fix="look after Kafka's brokers, then try again")
        time.sleep(_PAUSE_S)
    return result
