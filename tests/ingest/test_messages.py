"""Messages of others: each once in effect, wherever the process dies, and bad ones kept with their place."""

import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from skyloom.ingest import messages as module
from skyloom.ingest.messages import Bridge, Message
from skyloom.kernel.errors import DeclarationError, Transient, UsageError
from skyloom.kernel.locations import KafkaTopic, kafka_topic
from skyloom.kernel.records.definitions import ProjectDef, SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.runtime.bridges import Bridges
from skyloom.stores.intake.kafka import KafkaMessages

NOW = 1_364_800_000_000
SCHEMA = Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP), Field("x", Type.FLOAT, nullable=True)), "id", "at")
SOURCE = SourceDef("payments", SCHEMA, stream="kafka://nowhere/paid?group=g")


def event(key: Any, **more: Any) -> bytes:
    return json.dumps({"id": key, "at": NOW, "x": 1.5, "theirs": [1], **more}).encode()


class Topic:
    """Messages in lists, one a partition."""

    def __init__(self, *partitions: list[bytes | None]) -> None:
        self.partitions = partitions
        self.at: dict[int, int] = {}
        self.told: dict[int, int] = {}
        self.closed = 0
        self.name = "cluster/paid"

    def identity(self) -> str:
        return self.name

    def begin(self, positions: dict[int, int]) -> None:
        ends = {n: len(messages) for n, messages in enumerate(self.partitions)}
        self.at = {n: at if (at := positions.get(n, 0)) <= end else 0 for n, end in ends.items()}

    def take(self, most: int) -> Sequence[Message]:
        found = [
            Message(n, o, self.partitions[n][o]) for n, at in self.at.items() for o in range(at, len(self.partitions[n]))
        ]
        for each in found[:most]:
            self.at[each.partition] = each.offset + 1
        return found[:most]

    def passed(self, positions: dict[int, int]) -> None:
        self.told = positions

    def close(self) -> None:
        self.closed += 1


def bridge(stores: Any, topic: Any, log: Any = None, source: SourceDef = SOURCE) -> Bridge:
    return Bridge(source, "kafka://nowhere/paid", topic, log or stores.log, lambda: NOW)


BAD: list[bytes | None] = [b"{", None, b"\xff", event(3), event(""), b"[1]"]


def test_messages_become_events_and_bad_ones_are_kept_with_their_place(stores: Any) -> None:
    topic = Topic([event("a"), *BAD], [event("b", x=None)])
    there = bridge(stores, topic)
    assert (there.step(), there.step()) == (8, 0)
    assert [(row["id"], row["x"]) for row in stores.events(SOURCE)] == [("a", 1.5), ("b", None)]
    kept = [(reason, origin) for reason, _, origin, _ in stores.quarantined(SOURCE)]
    assert [origin for _, origin in kept] == [f"kafka://nowhere/paid/0@{n}" for n in range(1, 7)]
    assert [reason.partition(":")[0] for reason, _ in kept] == [
        "not valid JSON",
        "a message without a value",
        "not valid JSON",
        "id",
        "id",
        "expected an object, got array" if kept[5][0].endswith("array") else kept[5][0],
    ]
    [batch] = stores.log.read("events/payments", 0)
    assert (batch.imported, batch.appended_ms, topic.told) == (False, NOW, {0: 7, 1: 1})


def test_a_new_bridge_goes_on_where_the_last_one_was(stores: Any) -> None:
    topic = Topic([event("a")], [])
    bridge(stores, topic).step()
    topic.partitions[0].append(event("b"))
    topic.partitions[1].append(event("c"))
    again = bridge(stores, topic)
    assert topic.at == {0: 1, 1: 0}
    assert again.step() == 2
    assert [row["id"] for row in stores.events(SOURCE)] == ["a", "b", "c"]


def test_another_topic_is_read_from_its_beginning(stores: Any) -> None:
    bridge(stores, Topic([event("a"), event("b"), b"{"])).step()
    other = Topic([event("c"), event("d"), event("e"), event("f")])
    other.name = "cluster/paid-again"
    assert bridge(stores, other).step() == 4
    assert [row["id"] for row in stores.events(SOURCE)] == ["a", "b", "c", "d", "e", "f"]
    assert bridge(stores, other).step() == 0


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(stores: Any) -> None:
    bridge(stores, Topic([event("a"), event("b"), event("c")])).step()
    assert bridge(stores, Topic([event("d")])).step() == 1
    assert [row["id"] for row in stores.events(SOURCE)] == ["a", "b", "c", "d"]


def test_a_crash_at_any_write_loses_nothing_and_keeps_rejects_once(
    stores: Any, faulty: Any, died: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    crashes = 0
    for after in (False, True):
        for nth in range(1, 40):
            source = SourceDef(f"payments{nth}{after}", SCHEMA)
            topic = Topic([event("a"), b"{", b"{", event("b")], [b"{", event("c"), b"{"])
            try:
                there = bridge(stores, topic, faulty(stores.log, nth, after=after), source)
                while there.step():
                    pass
            except died:
                crashes += 1
            else:
                break
            again = bridge(stores, topic, source=source)
            while again.step():
                pass
            assert {row["id"] for row in stores.events(source)} == {"a", "b", "c"}
            places = [origin.rpartition("/")[2] for _, _, origin, _ in stores.quarantined(source)]
            assert sorted(places) == ["0@1", "0@2", "1@0", "1@2"]
    assert crashes > 10


class Platform:
    """As much of a platform as bridges need."""

    def __init__(self, log: Any) -> None:
        self.log, self.clock = log, self

    def now_ms(self) -> int:
        return NOW


def test_a_topic_that_fails_rests_and_holds_up_nobody(stores: Any) -> None:
    broken = SourceDef("broken", SCHEMA, stream="kafka://nowhere/broken")
    plain = SourceDef("plain", SCHEMA, stream="plain")
    project = ProjectDef("p", {each.name: each for each in (broken, SOURCE, plain)}, {}, {})
    topic, tried, elapsed = Topic([event("a")]), [0], [0.0]

    def connect(place: KafkaTopic, source: str) -> Any:
        if source == "broken":
            tried[0] += 1
            raise Transient("no broker")
        return topic

    bridges = Bridges(Platform(stores.log), project, connect, lambda: elapsed[0])  # type: ignore[arg-type]
    assert (bridges.step(), bridges.step(), tried) == (1, 0, [1])
    elapsed[0] = 6.0
    assert (bridges.step(), tried) == (0, [2])
    topic.take = lambda most: exec("raise error", {"error": Transient("gone")})  # type: ignore[method-assign,assignment]
    assert (bridges.step(), topic.closed) == (0, 1)
    bridges.close()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("kafka://host:9092", "a stream cannot come from"),
        ("kafka:///topic", "a stream cannot come from"),
        ("amqp://host/topic", "a stream cannot come from amqp"),
        ("kafka://me:secret@host/topic", "a stream cannot come from"),
        ("kafka://host/topic?sasl.password=x", "holds a secret: sasl.password"),
        ("kafka://host/topic?ssl.key.pem=MIIE", "holds a secret: ssl.key.pem"),
        ("kafka://[/topic", "is no address"),
    ],
)
def test_addresses_that_cannot_be(address: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        kafka_topic(address)


def test_settings_that_are_ours_or_unknown_are_refused() -> None:
    for name in ("group.id", "no.such.setting"):
        with pytest.raises(UsageError, match=name):
            KafkaMessages(KafkaTopic("127.0.0.1:1", "t", None, {name: "x"}), "s")


@pytest.mark.xdist_group("kafka")
def test_a_real_topic_is_read_to_its_end_and_on_from_there(kafka: Any, stores: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from confluent_kafka import Producer

    monkeypatch.setenv("CLIENT", "skyloom-test")
    name = f"theirs-{uuid.uuid4().hex[:8]}"
    producer = Producer({"bootstrap.servers": kafka.servers, "log_level": 0})
    if kafka.real:
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": kafka.servers, "log_level": 0})
        admin.create_topics([NewTopic(name, 3)])[name].result(10)
    else:
        kafka.make(name)

    def send(keys: Sequence[str]) -> None:
        for n, key in enumerate(keys):
            producer.produce(name, event(key), partition=n % 3)
        producer.produce(name, b"broken", partition=0)
        producer.flush(10)

    def taken(count: int) -> Callable[[], int]:
        place = kafka_topic(f"kafka://{kafka.servers}/{name}?client.id=${{CLIENT}}&log_level=0")
        assert place is not None
        there = Bridge(SOURCE, "theirs", KafkaMessages(place, "payments"), stores.log, lambda: NOW)
        found = 0
        while found < count:
            found += there.step()
        there.close()
        return lambda: found

    send([f"k{n}" for n in range(500)])
    assert taken(501)() == 501
    send([f"more{n}" for n in range(50)])
    assert taken(51)() == 51
    assert sorted(row["id"] for row in stores.events(SOURCE)) == sorted(
        [f"k{n}" for n in range(500)] + [f"more{n}" for n in range(50)]
    )
    assert len({origin for _, _, origin, _ in stores.quarantined(SOURCE)}) == 2
