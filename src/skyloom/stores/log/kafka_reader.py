"""One partition of Kafka read in order by one thread at a time, without a consumer group."""

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from skyloom.kernel.errors import Transient
from skyloom.stores.log.kafka_clients import Properties, explained

if TYPE_CHECKING:
    from confluent_kafka import Message


class Reader:
    """Goes on where it stands when asked for what follows, and jumps otherwise. Use it under ``lock`` only."""

    def __init__(self, properties: Properties, topic: str, partition: int, patience_s: float) -> None:
        from confluent_kafka import Consumer

        self.consumer = Consumer(properties)
        self.lock = threading.Lock()
        self._topic = topic
        self._partition = partition
        self._patience_s = patience_s
        self._next = -1
        self._seen_end = -1
        self._closed = False

    def messages(self, offset: int, high: int) -> "Iterator[tuple[int, bytes]]":
        """Messages from Kafka's ``offset`` up to ``high``, the offset after the last one, with the offset of each.

        Raises `Transient` when none comes in time.
        """
        if offset != self._next:
            self._jump(offset)
        while self._next < high and self._seen_end < high:
            message = None if self._closed else self.consumer.poll(self._patience_s)
            if message is None:
                self._next = -1
                raise Transient(f"Kafka gives no messages of {self._topic}", fix="look after its brokers, then try again")
            if not self._at_end(message):
                at = message.offset() or 0
                self._next = at + 1
                yield at, message.value() or b""

    def close(self) -> None:
        """Let go of the brokers, once nobody reads."""
        with self.lock:
            self._closed = True
            self.consumer.close()

    def _jump(self, offset: int) -> None:
        from confluent_kafka import TopicPartition

        self.consumer.assign([TopicPartition(self._topic, self._partition, offset)])
        self._next, self._seen_end = offset, -1

    def _at_end(self, message: "Message") -> bool:
        """Whether this is no message but the news that there are no more, or it raises what went wrong."""
        from confluent_kafka import KafkaError

        error = message.error()
        if error is None:
            return False
        if error.code() != KafkaError._PARTITION_EOF:  # pyright: ignore[reportPrivateUsage]
            self._next = -1
            raise explained(error, f"reading {self._topic}")
        self._seen_end = message.offset() or 0
        return True
