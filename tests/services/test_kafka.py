"""The broker that other tests rely on, and what stands in for it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.services import kafka as kafka_service
from tests.services.kafka import KafkaServer, MockKafka
from tests.services.process import Missing

pytestmark = pytest.mark.xdist_group("kafka")


def exchange(servers: str, topic: str, count: int) -> list[bytes]:
    """Send messages, and give all that the topic then holds."""
    producer = Producer({"bootstrap.servers": servers})
    for number in range(count):
        producer.produce(topic, str(number).encode(), partition=0)
    assert producer.flush(30) == 0
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest"})
    _, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes] = []
    while len(values) < high:
        message = consumer.poll(30)
        assert message is not None
        assert message.error() is None
        values.append(message.value())
    consumer.close()
    return values


def test_a_broker_holds_what_it_was_given_over_a_restart(new_kafka: Callable[[], KafkaServer]) -> None:
    server = new_kafka()
    admin = AdminClient({"bootstrap.servers": server.servers})
    admin.create_topics([NewTopic("topic", 1)])["topic"].result(30)
    assert exchange(server.servers, "topic", 3) == [b"0", b"1", b"2"]
    before = server.pid
    server.stop()
    server.start()
    assert server.pid != before
    assert exchange(server.servers, "topic", 1) == [b"0", b"1", b"2", b"0"]


def test_the_mock_holds_what_it_was_given() -> None:
    mock = MockKafka()
    mock.make("topic")
    assert exchange(mock.servers, "topic", 3) == [b"0", b"1", b"2"]


def test_without_java_or_maven_it_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_service.shutil, "which", lambda _: None)
    with pytest.raises(Missing, match="Java is not installed: sudo apt-get install"):
        kafka_service.java()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(Missing, match="Maven is not installed"):
        kafka_service.jars()


def test_a_maven_without_its_central_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_service.shutil, "which", lambda _: "/bin/false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(Missing, match="Maven Central did not give"):
        kafka_service.jars()
    assert not list(tmp_path.rglob("jars"))
