"""Whose turn it is: a project's stream work is divided into shards, and of each one worker at a time is the owner.

A shard is a number: partition ``n`` of every source is the work of shard ``n``, and shard 0 does what is there once
(receipts, refused rows, erasures). Its lease, in the online store, names the owner and an epoch that rises with every owner.
Each write checks the lease in its own transaction: who lost a shard learns it before it writes.
"""

from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager

import msgspec

from skyloom.kernel.errors import Conflict
from skyloom.ports.online import OnlineReader, OnlineStore, OnlineWriter

LEASES = "leases"


class Lease(msgspec.Struct, array_like=True, frozen=True):
    """The owner of a shard (nobody: an empty name), and how many there have been."""

    owner: str
    epoch: int


_LEASE = msgspec.msgpack.Decoder(Lease)


class Fenced:
    """An online store for the owner of one shard: every write checks its lease in its own transaction.

    `Conflict` from a write says that another worker has begun since; nothing was written then. Everything else goes
    through to the store.
    """

    def __init__(self, store: OnlineStore, shard: int, lease: Lease) -> None:
        self._store, self.shard, self.lease = store, shard, lease

    @property
    def steady(self) -> bool:
        """As the store."""
        return self._store.steady

    def read(self) -> AbstractContextManager[OnlineReader]:
        """As the store."""
        return self._store.read()

    @contextmanager
    def write(self, *, durable: bool = True) -> Generator[OnlineWriter]:
        """A transaction of the store, for the owner. Raises `Conflict` for another."""
        with self._store.write(durable=durable) as writer:
            self.require(writer)
            yield writer

    def require(self, view: OnlineReader) -> None:
        """Raises `Conflict` when another worker has begun since."""
        newest = lease_of(view, self.shard)
        if newest != self.lease:
            what = "the online store was lost" if newest is None else "another worker took over this project's stream work"
            raise Conflict(
                what,
                tried=f"a write to shard {self.shard} with {_told(self.lease)}; the newest is {_told(newest)}",
                fix="nothing: this worker begins again from the store, or ends",
            )

    def drop(self, space: str) -> None:
        """As the store, for the owner."""
        with self._store.read() as view:
            self.require(view)
        self._store.drop(space)

    def close(self) -> None:
        """As the store."""
        self._store.close()


def take(store: OnlineStore, owner: str, shards: Iterable[int]) -> list[Fenced]:
    """Be the owner of some shards, whoever was it until now."""
    with store.write(durable=False) as writer:
        return [Fenced(store, shard, _pass_on(writer, shard, owner)) for shard in shards]


def release(fences: Iterable[Fenced]) -> None:
    """Let others have the shards: at once, instead of when this owner is seen to be dead."""
    for fenced in fences:
        with fenced.write(durable=False) as writer:
            _pass_on(writer, fenced.shard, "")


def lease_of(view: OnlineReader | OnlineWriter, shard: int) -> Lease | None:
    """The lease of a shard; ``None`` before anybody took it."""
    stored = view.get(LEASES, b"%d" % shard)
    return None if stored is None else _LEASE.decode(stored)


def _pass_on(writer: OnlineWriter, shard: int, owner: str) -> Lease:
    before = lease_of(writer, shard)
    lease = Lease(owner, 1 if before is None else before.epoch + 1)
    writer.put(LEASES, b"%d" % shard, msgspec.msgpack.encode(lease))
    return lease


def _told(lease: Lease | None) -> str:
    return "none" if lease is None else f"epoch {lease.epoch} ({lease.owner or 'nobody'})"
