"""Where a log lies in Kafka, as its URL says it: ``kafka://HOST:PORT,HOST:PORT/PREFIX?replication=3``."""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from skyloom.kernel.errors import DeclarationError, UsageError
from skyloom.kernel.locations import resolved

_LONGEST = 249  # of a topic's name, in Kafka
_PLAIN = re.compile(rb"[A-Za-z0-9_]")
_ESCAPED = re.compile(rb"--|-([0-9a-f]{2})")
_NAME = re.compile(r"[A-Za-z0-9_]+")
_TOPIC = "topic."
_NOT_READ = "env:"  # how others name a variable: sent as a password, it would be one


class KafkaSettings(NamedTuple):
    """Brokers, and what new topics are made with.

    ``prefix`` stands before the name of every topic and consumer group; ``replication`` of -1 is the brokers' own default;
    ``topic`` are settings of new topics and ``client`` properties of librdkafka, by their own names. A call waits for the
    brokers for ``patience_s`` seconds.
    """

    servers: str
    prefix: str = "skyloom"
    replication: int = -1
    topic: tuple[tuple[str, str], ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    patience_s: float = 30.0

    def name(self, name: str) -> str:
        """A topic or consumer by its name in Kafka: a slash is ``--``, a byte that Kafka does not take ``-`` and its code.

        >>> KafkaSettings("localhost").name("events/late arrivals")
        'skyloom.events--late-20arrivals'
        """
        if not name or "\0" in name:
            raise UsageError(f"no topic or consumer is called {name!r}")
        bytes_ = (byte.to_bytes(1, "big") for byte in name.encode())
        escaped = "".join(_escaped(byte) for byte in bytes_)
        if len(escaped) > _LONGEST - 1 - len(self.prefix):
            raise UsageError(f"{name!r} is too long for Kafka", tried=f"{len(escaped)} characters", fix="use a shorter name")
        return f"{self.prefix}.{escaped}"

    def original(self, name: str) -> str | None:
        """The name that Kafka knows by ``name``; `None` for one that is not under our prefix.

        >>> KafkaSettings("localhost").original("skyloom.events--late-20arrivals")
        'events/late arrivals'
        """
        if not name.startswith(f"{self.prefix}."):
            return None
        escaped = name[len(self.prefix) + 1 :].encode()
        return _ESCAPED.sub(lambda found: bytes.fromhex((found[1] or b"2f").decode()), escaped).decode(errors="replace")

    def properties(self) -> dict[str, str]:
        """The properties of every client. Raises `UsageError` for a variable of the environment that is not set."""
        return {"bootstrap.servers": self.servers, **{name: resolved(value) for name, value in self.client}}


def kafka_settings(url: str) -> KafkaSettings:
    """Read a URL. Keys with a dot are librdkafka's properties, after ``topic.`` settings of new topics. ``${NAME}`` in a
    value is taken from the environment when a client is made, so that no secret stands in a file.

    Raises `DeclarationError` for what is no address of Kafka, and for settings that it has not.

    >>> settings = kafka_settings("kafka://one:9092,two:9092/shop?replication=3&sasl.password=${SECRET}")
    >>> settings.servers, settings.prefix, settings.replication, settings.client
    ('one:9092,two:9092', 'shop', 3, (('sasl.password', '${SECRET}'),))
    """
    parts = urlsplit(url)
    prefix = parts.path.strip("/") or "skyloom"
    if parts.scheme != "kafka" or not parts.netloc or "@" in parts.netloc or not _NAME.fullmatch(prefix):
        raise _bad(url, "it is no address of Kafka")
    numbers = {"replication": -1, "patience": 30}
    topic: dict[str, str] = {}
    client: dict[str, str] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in numbers:
            if not value.isdecimal() or int(value) == 0:
                raise _bad(url, f"{key} = {value!r} is no positive number")
            numbers[key] = int(value)
        elif key == "partitions":
            raise _bad(url, "the number of partitions is a key of the profile", f"write partitions = {value} beside log")
        elif key.startswith(_TOPIC):
            topic[key.removeprefix(_TOPIC)] = value
        elif "." in key and value.startswith(_NOT_READ):
            raise _bad(url, f"{key} is {_NOT_READ}NAME", "write ${NAME} for a variable of the environment")
        elif "." in key:
            client[key] = value
        else:
            raise _bad(url, f"it has no setting {key!r}")
    return KafkaSettings(
        parts.netloc,
        prefix,
        numbers["replication"],
        tuple(topic.items()),
        tuple(client.items()),
        float(numbers["patience"]),
    )


def _bad(url: str, why: str, fix: str = "write kafka://HOST:9092/PREFIX?replication=3") -> DeclarationError:
    return DeclarationError(
        f"log = {url.partition('?')[0].rpartition('@')[2]!r} cannot be: {why}",
        tried="replication, patience (seconds), topic.SETTING=VALUE and properties of librdkafka",
        fix=fix,
    )


def _escaped(byte: bytes) -> str:
    if byte == b"/":
        return "--"
    return byte.decode() if _PLAIN.fullmatch(byte) else f"-{byte[0]:02x}"
