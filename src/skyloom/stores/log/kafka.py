"""The log in Kafka: a message per batch.

The offset of a row is the offset of its message in the upper bits and its place in the batch in the lower 20; the value of a
message is what LMDB would store. So a batch never spans messages, and an offset says where to fetch.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from skyloom.kernel.errors import DataError, UsageError
from skyloom.ports.log import Log, LogBatch, NewBatch
from skyloom.stores.log.framing import HEADER, check_count, check_topic, framed, made_with, unframed
from skyloom.stores.log.kafka_clients import LARGEST, Clients, translated
from skyloom.stores.log.kafka_settings import KafkaSettings
from skyloom.stores.log.kafka_topics import Positions, Topics
from skyloom.stores.log.limits import Limits, check_position

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition

_BITS = 20


class KafkaLog:
    """A log in the brokers that the settings name; nothing is connected before it is used.

    - An append returns once all replicas in sync have it (``acks=all``, idempotent: what librdkafka tries again is neither
      doubled nor reordered). It is one message per batch and no transaction: one of several batches that fails may have left
      some. A failed append is in doubt, as with every remote store: rows are known by their keys when it is made again.
    - Topics are made with the first append, position or `declare`: those under ``events/`` of ``partitions``, all others of
      one. What is there keeps its number. The brokers forget
      nothing by themselves: `retain` and `truncate` do, on request; the first `retain` by bytes reads what is kept once.
    - Positions are Kafka's committed offsets, of a group per consumer, with ours in their metadata. Kafka has no "only
      forward": of two processes that commit for one consumer in the same instant, the later one decides. The brokers forget
      positions that nobody commits for ``offsets.retention.minutes`` (a week); then `retain` no longer waits for these.
    - Of no use in a process forked later.

    Raises `Transient` (brokers out of reach), `Refused` (rights), `DataError` (a batch larger than the topic takes).
    """

    dense = False
    atomic = False

    def __init__(self, settings: KafkaSettings, partitions: int = 1) -> None:
        check_count(partitions)
        self._settings, self._parted = settings, partitions
        self._clients = Clients(settings)
        self._topics = Topics(self._clients)
        self._positions = Positions(self._clients)
        self._counted: dict[tuple[str, int], tuple[int, int, int]] = {}

    def declare(self, topic: str, partitions: int) -> None:
        """Make a topic of so many partitions, if it is not there."""
        check_count(partitions)
        there = self._topics.make(self._settings.name(topic), partitions)
        if there != partitions:
            raise UsageError(f"{topic} has {there} partitions, not {partitions}", fix="declare the number that it has")

    def partitions(self, topic: str) -> int:
        """The number of partitions; that with which it would be made for a topic that is not there."""
        return self._topics.partitions(self._settings.name(topic)) or made_with(topic, self._parted)

    def append(self, topic: str, batches: Sequence[NewBatch], partition: int = 0) -> list[int]:
        """Append in order, a message per batch; the first offset of each, once all are acknowledged."""
        values = [(framed(batch), max(batch.appended_ms, 1)) for batch in batches]  # a time of 0 is "now" in Kafka
        for value, _ in values:
            if len(value) > LARGEST - 1_024:
                raise DataError(f"a batch of {len(value)} bytes is too large for Kafka", fix="append fewer rows at a time")
        name = self._settings.name(topic)
        check_topic(topic, partition, self._topics.make(name, made_with(topic, self._parted)))
        if not values:
            return []
        with translated(f"appending to {topic}"):
            return [offset << _BITS for offset in self._clients.sender().send(name, partition, values)]

    def read(self, topic: str, offset: int, max_rows: int = 65_536, partition: int = 0) -> list[LogBatch]:
        """Batches from the one that holds ``offset`` on, or from the first that is kept."""
        batches: list[LogBatch] = []
        rows = 0
        for batch in self._from(topic, offset, partition):
            batches.append(batch)
            rows += batch.count
            if rows >= max_rows:
                break
        return batches

    def start(self, topic: str, partition: int = 0) -> int:
        """The offset of the first row that is kept."""
        return self._watermarks(topic, partition)[0] << _BITS

    def end(self, topic: str, partition: int = 0) -> int:
        """The offset that the next row will take."""
        return self._watermarks(topic, partition)[1] << _BITS

    def commit(self, consumer: str, topic: str, offset: int, partition: int = 0) -> int:
        """Move a consumer's position forward."""
        check_position(consumer, offset)
        check_topic(topic, partition, self._topics.make(self._settings.name(topic), made_with(topic, self._parted)))
        return self._positions.commit(self._settings.name(consumer), self._place(topic, partition), offset)

    def committed(self, consumer: str, topic: str, partition: int = 0) -> int:
        """A consumer's position."""
        self._watermarks(topic, partition)
        return self._positions.committed(self._settings.name(consumer), self._place(topic, partition)) or 0

    def consumers(self, topic: str, partition: int = 0) -> dict[str, int]:
        """The position of every consumer."""
        self._watermarks(topic, partition)
        return self._positions.consumers(self._place(topic, partition))

    def retain(
        self,
        topic: str,
        *,
        now_ms: int,
        max_bytes: int | None = None,
        max_age_ms: int | None = None,
        keep_from: int | None = None,
        partition: int = 0,
    ) -> int:
        """Forget the oldest batches beyond the limits; the offset of the first one kept. Reads what it forgets."""
        if keep_from is None:
            keep_from = min(self.consumers(topic, partition).values(), default=None)
        start = self.start(topic, partition)
        kept = 0 if max_bytes is None else self._kept(topic, partition, start)
        limits, before, forgotten = Limits(now_ms, max_bytes, max_age_ms, keep_from), start, 0
        for batch in self._from(topic, start, partition):
            if not limits.exceeded(batch, kept - forgotten):
                break
            before, forgotten = batch.end, forgotten + HEADER.size + len(batch.payload)
        self.truncate(topic, before, partition)
        if max_bytes is not None:
            _, end, _ = self._counted[topic, partition]
            self._counted[topic, partition] = (before, end, kept - forgotten)
        return self.start(topic, partition)

    def truncate(self, topic: str, before: int, partition: int = 0) -> None:
        """Forget batches that end at or before ``before``."""
        low, high = self._watermarks(topic, partition)
        upto = min(before >> _BITS, high)
        if upto > low:
            self._topics.delete_before(self._settings.name(topic), partition, upto)

    def close(self) -> None:
        """Let go of the brokers."""
        self._clients.close()

    def _from(self, topic: str, offset: int, partition: int) -> Iterator[LogBatch]:
        low, high = self._watermarks(topic, partition)
        at = max(offset >> _BITS, low)
        if at >= high:
            return
        with self._clients.reader(self._settings.name(topic), partition) as reader, translated(f"reading {topic}"):
            for place, value in reader.messages(at, high):
                batch = unframed(place << _BITS, value, (place + 1) << _BITS)
                if batch.first + batch.count > offset:
                    yield batch

    def _watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """Kafka's offsets of the first message that is kept, and after the last one; zeros without a topic."""
        name = self._settings.name(topic)
        count = self._topics.partitions(name)
        check_topic(topic, partition, count or made_with(topic, self._parted))
        return self._topics.watermarks(name, partition) if count else (0, 0)

    def _kept(self, topic: str, partition: int, start: int) -> int:
        """The bytes of all batches from ``start`` on: those counted before and those that came since."""
        begun, end, size = self._counted.get((topic, partition), (start, start, 0))
        if begun != start:  # others forgot some, nobody knows how many bytes
            end, size = start, 0
        for batch in self._from(topic, end, partition):
            end, size = batch.end, size + HEADER.size + len(batch.payload)
        self._counted[topic, partition] = (start, end, size)
        return size

    def _place(self, topic: str, partition: int) -> "TopicPartition":
        from confluent_kafka import TopicPartition

        return TopicPartition(self._settings.name(topic), partition)


if TYPE_CHECKING:
    _log: Log = KafkaLog(KafkaSettings(""))
