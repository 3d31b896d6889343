"""Which shards are whose: workers of one project share its stream work, and find out by themselves who does what.

Each worker beats: it raises a number in the online store. Who has not beaten for as long as the profile's
``stream.patience``, by the clock of who looks, is dead. The shards are dealt out over the living, in the order of their
names; everybody deals alike. A worker gives up what it is no longer dealt once its own work is in the stores, and takes what
nobody living holds. There is nothing to be moved: the store is the state, and the lease of a shard sees to it that two who
disagree for a moment do no harm.
"""

import time
from collections.abc import Callable

import msgspec

from skyloom.ingest.partitions import SourcePart, parts_of
from skyloom.ingest.sink import events_topic
from skyloom.kernel.records.definitions import ProjectDef, SourceDef
from skyloom.ports.log import Log
from skyloom.ports.online import OnlineStore, OnlineWriter
from skyloom.runtime.worker.fence import lease_of

ALONE = "alone"
"""The owner who has not joined the others: a command that does the work itself."""

_MEMBERS = "members"


class Beat(msgspec.Struct, array_like=True, frozen=True):
    """How often a worker has beaten, and whether it asks for every shard."""

    number: int
    wants_all: bool = False


_BEAT = msgspec.msgpack.Decoder(Beat)


class Member:
    """One of a project's workers, by a name of its own. A worker that was killed begins again under the same name. Others
    that do not beat are waited for ``patience_s``."""

    def __init__(
        self,
        store: OnlineStore,
        name: str,
        shards: int,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self.name, self._shards, self._patience_s, self._clock = store, name, shards, patience_s, clock
        self._number, self._wants_all = 0, False
        self._seen: dict[str, tuple[Beat, float]] = {}

    def due(self, *, wants_all: bool = False) -> frozenset[int]:
        """Beat, and look: the shards that are to be this worker's now. Those that it does not own yet are free."""
        self._number, self._wants_all = self._number + 1, wants_all
        with self._store.write(durable=False) as writer:
            writer.put(_MEMBERS, self.name.encode(), msgspec.msgpack.encode(Beat(self._number, wants_all)))
            living = self._living(writer)
            for name in self._seen.keys() - living.keys():
                writer.delete(_MEMBERS, name.encode())
            dealt = [shard for shard in range(self._shards) if _owner(shard, living) == self.name]
            return frozenset(shard for shard in dealt if self._may_own(writer, shard, living))

    def beat(self) -> None:
        """Be seen to live, when there is no time to look."""
        self._number += 1
        with self._store.write(durable=False) as writer:
            writer.put(_MEMBERS, self.name.encode(), msgspec.msgpack.encode(Beat(self._number, self._wants_all)))

    def leave(self) -> None:
        """Be no longer dealt anything."""
        with self._store.write(durable=False) as writer:
            writer.delete(_MEMBERS, self.name.encode())

    def _living(self, view: OnlineWriter) -> dict[str, Beat]:
        found = {name.decode(): _BEAT.decode(stored) for name, stored in view.scan(_MEMBERS)}
        now = self._clock()
        self._seen = {
            name: self._seen[name] if name in self._seen and self._seen[name][0].number == beat.number else (beat, now)
            for name, beat in found.items()
        }
        return {
            name: beat for name, (beat, since) in self._seen.items() if name == self.name or now - since < self._patience_s
        }

    def _may_own(self, view: OnlineWriter, shard: int, living: dict[str, Beat]) -> bool:
        lease = lease_of(view, shard)
        return lease is None or lease.owner == self.name or lease.owner not in living


def shards_of(log: Log, project: ProjectDef) -> int:
    """How many shards a project's stream work has: the partitions of the source that has most."""
    return max((log.partitions(events_topic(name)) for name in project.sources), default=1)


def source_parts(log: Log, source: SourceDef) -> list[SourcePart]:
    """The partitions of a source."""
    return parts_of(source, log.partitions(events_topic(source.name)))


def _owner(shard: int, living: dict[str, Beat]) -> str:
    """Whom a shard is dealt to: who asks for all of them has them all."""
    asking = sorted(name for name, beat in living.items() if beat.wants_all)
    names = asking[:1] or sorted(living)
    return names[shard % len(names)]
