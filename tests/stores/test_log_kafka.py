"""The log in Kafka, on a real broker."""

import os
import re
import sys
from contextlib import closing
from functools import partial
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from skyloom.kernel.errors import DataError, DeclarationError, MissingExtra, Transient, UsageError
from skyloom.ports.log import NewBatch
from skyloom.stores.log.kafka import KafkaLog
from skyloom.stores.log.kafka_settings import KafkaSettings, kafka_settings
from skyloom.stores.log.lmdb import LmdbLog
from skyloom.testing.conformance.log import (
    TOPIC,
    LogConformance,
    LogKilled,
    LogParted,
    LogPartitions,
    LogPositions,
    LogRetention,
    batch,
    same,
    whole,
)
from skyloom.testing.faults import together

pytestmark = pytest.mark.xdist_group("kafka")


def settings(servers, **more):
    return KafkaSettings(servers, prefix=f"t{uuid4().hex}", **more)


class TestKafkaLog(LogConformance):
    """What librdkafka's mock cluster can do as well."""

    @pytest.fixture
    def open_log(self, kafka):
        mine = settings(kafka.servers)
        if not kafka.real:
            kafka.make(*(mine.name(topic) for topic in (TOPIC, "a", "a/b", "a/b_c")))
        return partial(KafkaLog, mine)


class TestKafkaLogOnABroker(LogKilled, LogParted, LogPartitions, LogPositions, LogRetention):
    kills = 3

    @pytest.fixture
    def open_parted(self, kafka_broker):
        return partial(KafkaLog, settings(kafka_broker.servers))

    @pytest.fixture
    def open_log(self, kafka_broker):
        return partial(KafkaLog, settings(kafka_broker.servers))


def test_a_broker_that_is_away_is_transient_and_nothing_acknowledged_is_lost(new_kafka):
    server = new_kafka()
    mine = settings(server.servers)
    with closing(KafkaLog(mine)) as log, closing(KafkaLog(mine._replace(patience_s=2.0))) as hasty:
        first, second = log.append(TOPIC, [batch(1)])[0], sooner_or_later(hasty, 2)
        server.stop(kill=True)
        with pytest.raises(Transient, match="Kafka"):
            hasty.append(TOPIC, [batch(3)])
        server.start()
        third, fourth = sooner_or_later(hasty, 4), sooner_or_later(log, 5)
        stored = {one.first: one for one in whole(log)}
        acknowledged = {first: 1, second: 2, third: 4, fourth: 5}
        assert all(same(stored[offset], batch(number)) for offset, number in acknowledged.items())
        assert all(any(same(one, batch(number)) for number in range(1, 6)) for one in stored.values())


def sooner_or_later(log, number):
    """Append, again and again while the brokers are out of reach."""
    while True:
        try:
            return log.append(TOPIC, [batch(number)])[0]
        except Transient:
            continue


def test_brokers_that_never_answer_are_transient():
    with closing(KafkaLog(settings("127.0.0.1:1", patience_s=0.3))) as log:
        with pytest.raises(Transient, match="Kafka"):
            log.end(TOPIC)
        with pytest.raises(Transient, match="Kafka"):
            log.append(TOPIC, [batch(1)])


def test_a_log_opened_before_a_fork_is_refused_in_the_child_and_unharmed(kafka_broker):
    [[stored]] = together(fork_and_append, [(settings(kafka_broker.servers),)])
    assert stored == 2


def fork_and_append(settings, report):
    with closing(KafkaLog(settings)) as log:
        log.append(TOPIC, [batch(0)])
        log.read(TOPIC, 0)
        child = os.fork()
        if child == 0:
            try:
                with pytest.raises(UsageError, match="forked"):
                    log.append(TOPIC, [batch(1)])
                with pytest.raises(UsageError, match="forked"):
                    log.read(TOPIC, 0)
                log.close()
                del log
                with closing(KafkaLog(settings)) as own:
                    own.append(TOPIC, [batch(1)])
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        log.append(TOPIC, [batch(2)])
        report(len(whole(log)) - 1)


def test_the_settings_of_the_url_make_the_topics(kafka_broker):
    from confluent_kafka.admin import AdminClient, ConfigResource

    mine = kafka_settings(f"kafka://{kafka_broker.servers}/t{uuid4().hex}?replication=1&topic.segment.bytes=1048576")
    with closing(KafkaLog(mine, 3)) as log:
        assert log.partitions(TOPIC) == 3
        log.append(TOPIC, [batch(1)], partition=2)
        assert log.partitions(TOPIC) == 3
    resource = ConfigResource(ConfigResource.Type.TOPIC, mine.name(TOPIC))
    admin = AdminClient(mine.properties())
    found = admin.describe_configs([resource])[resource].result()
    told = {name: found[name].value for name in ("segment.bytes", "retention.ms", "retention.bytes", "cleanup.policy")}
    assert told == {"segment.bytes": "1048576", "retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}


def test_what_is_too_large_is_said_and_nothing_of_it_is_appended(kafka_broker):
    mine = settings(kafka_broker.servers, topic=(("max.message.bytes", "100000"),))
    with closing(KafkaLog(mine)) as log:
        with pytest.raises(DataError, match="too large"):
            log.append(TOPIC, [NewBatch(1, 0, False, os.urandom(200_000))])
        with pytest.raises(DataError, match="too large"):
            log.append(TOPIC, [batch(1), NewBatch(1, 0, False, bytes(64 << 20))])
        assert log.append(TOPIC, [batch(2)]) == [0]
        assert len(whole(log)) == 1


def test_messages_of_others_are_told_from_batches(kafka_broker):
    from confluent_kafka import Producer

    mine = settings(kafka_broker.servers)
    with closing(KafkaLog(mine)) as log:
        log.append(TOPIC, [batch(1)])
        other = Producer({"bootstrap.servers": kafka_broker.servers})
        other.produce(mine.name(TOPIC), b"hello")
        assert other.flush(30) == 0
        assert len(log.read(TOPIC, 0, max_rows=1)) == 1
        with pytest.raises(DataError, match="format"):
            log.read(TOPIC, 0)


def test_lag_in_the_tools_of_kafka_is_none_once_all_is_read(kafka_broker):
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
    from confluent_kafka.admin import AdminClient

    mine = settings(kafka_broker.servers)
    with closing(KafkaLog(mine)) as log:
        log.append(TOPIC, [batch(3)] * 4)
        log.commit("worker", TOPIC, log.end(TOPIC))
    group = mine.name("worker")
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(mine.name(TOPIC), 0)])
    admin = AdminClient(mine.properties())
    [stands] = admin.list_consumer_group_offsets([asked])[group].result().topic_partitions
    assert stands.offset == 4


places = st.tuples(st.integers(0, 8), st.integers(0, 4))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.integers(1, 5), min_size=1, max_size=4)),
        st.tuples(st.just("read"), places, st.integers(1, 12)),
        st.tuples(st.just("truncate"), places),
        st.tuples(st.just("commit"), places),
        st.tuples(st.just("retain"), st.integers(0, 200), st.none() | places),
        st.tuples(st.just("age"), st.integers(0, 12)),
        st.tuples(st.just("reopen")),
    ),
    min_size=4,
    max_size=12,
)


@given(steps)
@settings_of_hypothesis(
    max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_it_does_what_the_embedded_log_does(kafka_broker, tmp_path_factory, steps):
    opened = [partial(LmdbLog, tmp_path_factory.mktemp("log")), partial(KafkaLog, settings(kafka_broker.servers))]
    seen = [play(open_log, steps) for open_log in opened]
    assert seen[0] == seen[1]


def play(open_log, steps):
    """What every step gave, with offsets told as places: the number of a batch, and a row in it."""
    log, firsts, counts, seen = open_log(), [0], [], []

    def offset(place):
        batch, row = place
        return firsts[batch] + row % counts[batch] if batch < len(counts) else firsts[-1]

    for step, *values in steps:
        if step == "append":
            new = [NewBatch(count, len(firsts) + i, False, bytes([len(firsts) + i])) for i, count in enumerate(values[0])]
            firsts[-1:] = [*log.append(TOPIC, new), log.end(TOPIC)]
            counts += values[0]
        elif step == "read":
            seen.append([one.payload for one in log.read(TOPIC, offset(values[0]), values[1])])
        elif step == "truncate":
            log.truncate(TOPIC, offset(values[0]))
        elif step == "commit":
            log.commit("worker", TOPIC, offset(values[0]))
        elif step == "retain":
            keep_from = None if values[1] is None else offset(values[1])
            seen.append(firsts.index(log.retain(TOPIC, now_ms=0, max_bytes=values[0], keep_from=keep_from)))
        elif step == "age":
            seen.append(firsts.index(log.retain(TOPIC, now_ms=13, max_age_ms=values[0], max_bytes=60)))
        else:
            log.close()
            log = open_log()
        seen.append(firsts.index(log.start(TOPIC)))
    seen.append([one.payload for one in log.read(TOPIC, 0)])
    log.close()
    return seen


names = st.text(min_size=1, max_size=60)


@given(names, names)
def test_names_in_kafka_are_legal_and_tell_apart(one, other):
    mine = KafkaSettings("")
    try:
        in_kafka = mine.name(one), mine.name(other)
    except UsageError:
        return
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) for name in in_kafka)
    assert (in_kafka[0] == in_kafka[1]) == (one == other)
    assert mine.original(in_kafka[0]) == one


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "kafka:///prefix",
        "kafka://user:secret@localhost",
        "kafka://localhost/a/b",
        "kafka://localhost?replication=0",
        "kafka://localhost?replication=many",
        "kafka://localhost?partition=3",
    ],
)
def test_urls_that_cannot_be(url):
    with pytest.raises(DeclarationError, match="cannot be") as error:
        kafka_settings(url)
    assert "secret" not in str(error.value)


def test_the_number_of_partitions_is_said_elsewhere():
    with pytest.raises(DeclarationError, match="a key of the profile") as error:
        kafka_settings("kafka://localhost?partitions=8")
    assert error.value.fix == "write partitions = 8 beside log"


def test_secrets_come_from_the_environment(monkeypatch):
    mine = kafka_settings("kafka://localhost?sasl.password=${SKYLOOM_TEST_SECRET}&sasl.username=me")
    with pytest.raises(UsageError, match="SKYLOOM_TEST_SECRET"):
        mine.properties()
    monkeypatch.setenv("SKYLOOM_TEST_SECRET", "hidden")
    assert mine.properties() == {"bootstrap.servers": "localhost", "sasl.password": "hidden", "sasl.username": "me"}


def test_the_spelling_of_others_for_a_variable_is_refused():
    with pytest.raises(DeclarationError, match=r"write \$\{NAME\}"):
        kafka_settings("kafka://localhost?sasl.password=env:SECRET")


def test_without_the_driver_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(MissingExtra, match="confluent_kafka"):
        KafkaLog(KafkaSettings("localhost"))


def test_positions_are_kept_by_a_broker_that_nobody_used_before(new_kafka):
    """Its coordinators begin with the first question, and say so first: the admin client of librdkafka dies of that."""
    with closing(KafkaLog(settings(new_kafka().servers))) as log:
        assert log.append(TOPIC, [batch(1)]) == [0]
        assert log.committed("worker", TOPIC) == 0
        assert log.commit("worker", TOPIC, log.end(TOPIC)) == log.committed("worker", TOPIC) == log.end(TOPIC)
        assert log.consumers(TOPIC) == {"worker": log.end(TOPIC)}
