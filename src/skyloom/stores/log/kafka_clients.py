"""What a process has open towards Kafka: one producer, one client that asks, and a few readers."""

import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from skyloom.kernel.errors import DataError, MissingExtra, Refused, SkyloomError, Transient, UsageError
from skyloom.stores.log.kafka_settings import KafkaSettings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, Producer
    from confluent_kafka.admin import AdminClient

    from skyloom.stores.log.kafka_reader import Reader

LARGEST = 64 << 20
"""Bytes of the largest message, where the brokers take it: new topics are made so."""

Properties = dict[str, str | int | float | bool]

_READERS = 8

_COMMON = {"log_level": "2", "reconnect.backoff.ms": "50", "reconnect.backoff.max.ms": "1000"}
_CONSUMER = {"enable.auto.commit": "false", "enable.auto.offset.store": "false", "auto.offset.reset": "earliest"}
_READER = {
    "enable.partition.eof": "true",
    "fetch.wait.max.ms": "50",  # a jump waits for the fetch before it, which waits so long for rows at the end
    "fetch.queue.backoff.ms": "20",
    "queued.max.messages.kbytes": "32768",
}
_PRODUCER = {
    "acks": "all",
    "enable.idempotence": "true",
    "linger.ms": "0",
    "message.max.bytes": str(LARGEST),
}


class Clients:
    """The clients of one log, made when they are first used. Safe for threads; `UsageError` once closed or in a fork."""

    def __init__(self, settings: KafkaSettings) -> None:
        try:
            import confluent_kafka  # noqa: F401  # pyright: ignore[reportUnusedImport]
        except ImportError as error:
            raise MissingExtra("confluent_kafka", "kafka") from error
        self.settings = settings
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._closed = False
        self._sender: Sender | None = None
        self._asker: Consumer | None = None
        self._admin: AdminClient | None = None
        self._readers: OrderedDict[tuple[str, int], Reader] = OrderedDict()
        self._members: dict[str, Consumer] = {}
        _LIVING.add(self)

    def sender(self) -> "Sender":
        """The one that appends; a new one after the last one failed, since librdkafka may have given up on it."""
        patience_s = self.settings.patience_s
        with self._using():
            if self._sender is None or self._sender.failed:
                self._sender = Sender(
                    self._properties({**_PRODUCER, "delivery.timeout.ms": str(int(1_000 * patience_s))}), patience_s
                )
            return self._sender

    def asker(self) -> "Consumer":
        """A client for questions. It reads nothing: its connections never wait behind a fetch that waits for rows."""
        from confluent_kafka import Consumer

        with self._using():
            if self._asker is None:
                self._asker = Consumer(self._properties({**_CONSUMER, "group.id": f"{self.settings.prefix}.asker"}))
            return self._asker

    def admin(self) -> "AdminClient":
        """A client for topics, deletions and the names of groups."""
        from confluent_kafka.admin import AdminClient

        with self._using():
            if self._admin is None:
                self._admin = AdminClient(self._properties({}))
            return self._admin

    def member(self, group: str) -> "Consumer":
        """A client for the positions of a group, which it never joins. The admin client could ask for them too, but dies of
        an answer that a coordinator gives while it begins (librdkafka 2.16, ``rd_kafka_handle_OffsetFetch``)."""
        from confluent_kafka import Consumer

        with self._using():
            if group not in self._members:
                self._members[group] = Consumer(self._properties({**_CONSUMER, "group.id": group}))
            return self._members[group]

    @contextmanager
    def reader(self, topic: str, partition: int) -> Generator["Reader"]:
        """The reader of a partition, for one thread at a time. The least lately used ones are closed."""
        from skyloom.stores.log.kafka_reader import Reader

        with self._using():
            reader = self._readers.get((topic, partition))
            if reader is None:
                group = {"group.id": f"{self.settings.prefix}.reader"}
                properties = self._properties({**_CONSUMER, **_READER, **group})
                reader = Reader(properties, topic, partition, self.settings.patience_s)
                self._readers[topic, partition] = reader
            self._readers.move_to_end((topic, partition))
            spare = self._readers.popitem(last=False)[1] if len(self._readers) > _READERS else None
        if spare is not None:
            spare.close()
        with reader.lock:
            yield reader

    def close(self) -> None:
        """Let go of the brokers. In a forked process the clients are the parent's, and left alone."""
        with self._lock:
            if self._closed or self._pid != os.getpid():
                return
            self._closed = True
            readers, sender, asker = list(self._readers.values()), self._sender, self._asker
            members = list(self._members.values())
            self._readers.clear()
            self._members.clear()
            self._sender = self._asker = self._admin = None
        for reader in readers:
            reader.close()
        if sender is not None:
            sender.close()
        for client in (*members, *([asker] if asker is not None else [])):
            client.close()

    @contextmanager
    def _using(self) -> Generator[None]:
        if self._pid != os.getpid():
            raise UsageError(
                f"Kafka at {self.settings.servers} was opened before this process was forked",
                fix="open it in the new process alone, or start processes by spawning",
            )
        with self._lock, translated(self.settings.servers):
            if self._closed:
                raise UsageError(f"Kafka at {self.settings.servers} was closed", fix="open it again")
            yield

    def _properties(self, own: dict[str, str]) -> Properties:
        return {**_COMMON, **own, **self.settings.properties()}

    def leave_alone(self) -> None:
        """In a forked process: keep librdkafka's objects for ever, whose threads are not there to end them."""
        self._lock = threading.RLock()
        for reader in self._readers.values():
            _immortal(reader.consumer)
        for client in (*self._members.values(), self._asker, self._admin, self._sender and self._sender.producer):
            if client is not None:
                _immortal(client)


class Sender:
    """A producer, with a thread that hears the brokers' acknowledgements."""

    def __init__(self, properties: Properties, patience_s: float) -> None:
        from confluent_kafka import Producer

        self._patience_s = patience_s
        self.producer = Producer(properties)
        self.failed = False
        self._lock = threading.Lock()
        self._busy = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=_hear, args=(self.producer, self._ended), name="kafka-acks", daemon=True)
        self._thread.start()

    def send(self, topic: str, partition: int, values: Sequence[tuple[bytes, int]]) -> list[int]:
        """Send values with their times (milliseconds); Kafka's offset of each, once all are acknowledged."""
        delivery = _Delivery(len(values))
        with self._lock:
            self._busy += 1
        well = False
        try:
            for index, (value, moment) in enumerate(values):
                self._produce(topic, partition, value, moment, delivery.heard(index))
            if not delivery.done.wait(2 * self._patience_s + 1.0) or delivery.error is not None:
                raise delivery.failure()
            well = True
        finally:
            self._left(well)
        return delivery.offsets

    def close(self) -> None:
        """Send what is on its way, then end."""
        self.producer.flush(self._patience_s)
        self._ended.set()
        self._thread.join()

    def _left(self, well: bool) -> None:
        """One append less. After a failure the last one ends the thread: nobody will append here any more."""
        with self._lock:
            self._busy -= 1
            self.failed |= not well
            if self.failed and not self._busy:
                self._ended.set()

    def _produce(self, topic: str, partition: int, value: bytes, moment: int, heard: Any) -> None:
        while True:
            try:
                self.producer.produce(topic, value, partition=partition, timestamp=moment, on_delivery=heard)
                return
            except BufferError:
                self.producer.poll(0.1)  # librdkafka's queue is full: until some are acknowledged


class _Delivery:
    """What became of the messages of one append."""

    def __init__(self, count: int) -> None:
        self.offsets = [-1] * count
        self.error: KafkaError | None = None
        self.done = threading.Event()
        self._left = count

    def heard(self, index: int) -> Any:
        def call(error: "KafkaError | None", message: "Message") -> None:
            if error is not None:
                self.error = error
            else:
                self.offsets[index] = message.offset() or 0
            self._left -= 1
            if not self._left:
                self.done.set()

        return call

    def failure(self) -> SkyloomError:
        if self.error is not None:
            return explained(self.error, "an append")
        return Transient("Kafka has not acknowledged an append", fix="look after its brokers, then append again")


def _hear(producer: "Producer", ended: threading.Event) -> None:
    while not ended.is_set():
        producer.poll(0.1)
    producer.poll(0)


@contextmanager
def translated(what: str) -> Generator[None]:
    """Turns Kafka's errors into ours."""
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as error:
        raise explained(error.args[0], what) from error
    except TimeoutError as error:
        raise Transient(f"Kafka does not answer: {what}", fix="look after its brokers, then try again") from error


def explained(error: "KafkaError", what: str) -> SkyloomError:
    """What an error of Kafka means here."""
    from confluent_kafka import KafkaError

    code, said = error.code(), f"{what}: {error.str()}"
    if code in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return DataError(f"a batch is too large for Kafka: {said}", fix="raise max.message.bytes of the topic")
    if code in (KafkaError._INVALID_ARG, KafkaError.TOPIC_EXCEPTION, KafkaError.INVALID_CONFIG):  # pyright: ignore[reportPrivateUsage]
        return UsageError(f"Kafka does not take this: {said}", fix="mend the URL of the log")
    if code in (
        KafkaError._AUTHENTICATION,  # pyright: ignore[reportPrivateUsage]
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    ):
        return Refused(f"Kafka said no: {said}", fix="give this user the rights, or other credentials")
    return Transient(f"Kafka cannot be used now: {said}", fix="look after its brokers, then try again")


def _immortal(client: object) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


def _after_fork() -> None:
    for clients in list(_LIVING):
        clients.leave_alone()


_LIVING: WeakSet[Clients] = WeakSet()
os.register_at_fork(after_in_child=_after_fork)
