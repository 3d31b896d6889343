"""Events out of a topic of somebody else's: one JSON object a message, into our log."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from skyloom.ingest.gateway import as_json, judge_each
from skyloom.ingest.partitions import Appender
from skyloom.ingest.quarantine import Quarantine, Reject
from skyloom.ingest.rows import Value, row_type
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import SourceDef
from skyloom.ports.log import Log, NewBatch

MOST = 10_000
"""Messages that are taken, appended and remembered together."""


class Positions(msgspec.Struct, array_like=True, frozen=True):
    """The next offset of each partition of the topic that ``of`` names."""

    of: str
    next: dict[int, int]


_POSITIONS = msgspec.msgpack.Decoder(Positions)


class Message(NamedTuple):
    """What stands at ``offset`` of a partition of the topic."""

    partition: int
    offset: int
    value: bytes | None


class Messages(Protocol):
    """A topic of somebody else's. Raises `Transient` when it cannot be read now."""

    def identity(self) -> str:
        """Names the topic itself, by whatever address it is reached: positions in one mean nothing in another."""
        ...

    def begin(self, positions: dict[int, int]) -> None:
        """Read each partition from its position on; one without a position, or with one that is not there (any more), from
        its beginning."""
        ...

    def take(self, most: int) -> Sequence[Message]:
        """Messages that are here already, in order within a partition; none when there are none."""
        ...

    def passed(self, positions: dict[int, int]) -> None:
        """Tell the broker how far we are, for those who watch it. Nothing depends on it."""
        ...

    def close(self) -> None: ...


class Bridge:
    """Takes messages into the log of a source, bounded many a step. One at a time may run for a source.

    What is appended, and what is refused, is on the disk before the position moves, which lies in our log too (the topic
    ``intake/SOURCE``): a crash in between takes some messages again. Good ones are known by their keys, and bad ones are
    kept once, under their partition and offset. Positions of another topic, which the source had before, are forgotten.
    """

    def __init__(self, source: SourceDef, topic: str, messages: Messages, log: Log, now_ms: Callable[[], int]) -> None:
        self._source, self._name, self._messages, self._log, self._now_ms = source, topic, messages, log, now_ms
        self._type = row_type(source.schema)
        self._topic = f"intake/{source.name}"
        self._events = Appender(log, source)
        self._of = messages.identity()
        self._positions = self._stored()
        self._quarantine = Quarantine(log, source.name, "messages", self._ahead)
        messages.begin(self._positions)

    def step(self) -> int:
        """Take what is there; how many messages. Raises `Transient`, and then a new bridge goes on from what is stored."""
        taken = self._messages.take(MOST)
        if not taken:
            return 0
        now = self._now_ms()
        judged = judge_each(taken, self._values, _text, self._source, now, self._events.partitions)
        self._events.append(judged.portions, now, imported=False)
        self._quarantine.keep((Reject(bad.reason, bad.text, self._origin(taken[bad.row])) for bad in judged.bad), now)
        moved = dict(self._positions)
        for each in taken:
            moved[each.partition] = each.offset + 1
        [at] = self._log.append(self._topic, [NewBatch(1, now, False, msgspec.msgpack.encode(Positions(self._of, moved)))])
        self._positions = moved
        self._log.truncate(self._topic, at)
        self._quarantine.done()
        self._messages.passed(moved)
        return len(taken)

    def close(self) -> None:
        """Let go of the topic."""
        self._messages.close()

    def _stored(self) -> dict[int, int]:
        positions = Positions(self._of, {})
        at = self._log.start(self._topic)
        while batches := self._log.read(self._topic, at):
            at = batches[-1].end
            positions = _POSITIONS.decode(batches[-1].payload)
        return positions.next if positions.of == self._of else {}

    def _values(self, message: Message) -> tuple[Value, ...]:
        if message.value is None:
            raise DataError("a message without a value")
        return self._type.from_wider_json(message.value)

    def _origin(self, message: Message) -> str:
        return f"{self._name}/{message.partition}@{message.offset}"

    def _ahead(self, origin: str) -> bool:
        """Whether a row in quarantine came from a message that is yet to be taken (again)."""
        name, _, place = origin.rpartition("/")
        partition, _, offset = place.partition("@")
        if name != self._name or not (partition.isdecimal() and offset.isdecimal()):
            return False
        return int(offset) >= self._positions.get(int(partition), 0)


def _text(message: Message) -> str:
    return "null" if message.value is None else as_json(message.value)
