"""Groups that are built from history while the stream goes on: by an offset barrier, in bounded steps.

When a building begins at the source's position C, the stream folds everything from C on into what is built, and the
builder everything below C from the lake, chunk by chunk; tiles do not depend on the order of events. Each chunk's
transaction moves the building with it, so that a killed builder goes on where it stood. Until the end the group is
*missing*: nothing reads it, and releases go on reading the group that they name.

A group that stands already is built again in a space beside its own, and taken over entity by entity at the end.

Each partition of a source has a barrier and a building of its own; all of them write to one space, since an entity may have
events in several. A group is readable, or taken over, when every partition has come to its barrier.
"""

from collections.abc import Sequence

import msgspec

from skyloom.features.spaces import (
    POSITIONS,
    build_position,
    group_position,
    pack,
    position,
    source_position,
    tiles_space,
    unpack,
)
from skyloom.features.times import keep_ms
from skyloom.ingest.partitions import SourcePart
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.ports.online import OnlineReader, OnlineStore, OnlineWriter

_AT_ONCE = 2_000
"""Entities that are taken over in one transaction."""


class _State(msgspec.Struct, array_like=True, frozen=True):
    """``barrier`` C; ``live``: the stream is in from C up to there; ``position``: everything below is in; ``beside``: the
    group stands already; ``taken``: the key up to which entities were taken over, ``None`` before; ``gone``: the same for
    those that have no events any more."""

    barrier: int
    live: int
    position: int = 0
    beside: bool = False
    taken: bytes | None = None
    gone: bytes | None = None


_STATE = msgspec.msgpack.Decoder(_State)


class Building(msgspec.Struct, frozen=True):
    """A group that is being built from one partition of its source, and how far that has come."""

    group: FeatureGroupDef
    state: _State
    partition: int = 0

    @property
    def space(self) -> str:
        """Where its tiles are gathered."""
        return _beside(self.group) if self.state.beside else tiles_space(self.group)

    @property
    def over(self) -> bool:
        """Whether it was taken over: what is left is to be thrown away."""
        return self.state.gone == b""

    @property
    def left(self) -> int:
        """Offsets that are still to be folded."""
        return self.state.barrier - self.state.position

    def followed(self, writer: OnlineWriter, end: int) -> None:
        """Write down that the stream is in up to ``end``."""
        _write(writer, self, msgspec.structs.replace(self.state, live=end))

    def moved(self, writer: OnlineWriter, upto: int, source_position: int) -> "Building":
        """The building once everything below ``upto`` is in; written down. A new group is readable when it is complete."""
        state = msgspec.structs.replace(self.state, position=min(upto, self.state.barrier))
        if state.position < state.barrier or state.beside:
            _write(writer, self, state)
        else:
            writer.delete(POSITIONS, build_position(self.group, self.partition))
            writer.put(POSITIONS, group_position(self.group, self.partition), pack(source_position))
        return Building(self.group, state, self.partition)

    def take_over(self, store: OnlineStore, partitions: int = 1) -> bool:
        """Let the group's own space be what was built beside it, some entities in one transaction; whether it is done.

        For the building of partition 0, once every partition has come to its barrier (`complete`)."""
        own, state = tiles_space(self.group), self.state
        with store.write(durable=False) as writer:
            if state.taken != b"":
                at = _next(writer, self.space, state.taken)
                writer.put_many(own, at, keep_ms=keep_ms(self.group))
                state = msgspec.structs.replace(state, taken=at[-1][0] if len(at) == _AT_ONCE else b"")
            elif state.gone != b"":
                at = _next(writer, own, state.gone)
                found = writer.get_many(self.space, [key for key, _ in at])
                for (key, _), stored in zip(at, found, strict=True):
                    if stored is None:
                        writer.delete(own, key)
                state = msgspec.structs.replace(state, gone=at[-1][0] if len(at) == _AT_ONCE else b"")
            if state.gone == b"":  # from here on nobody writes beside it
                for partition in range(1, partitions):
                    writer.delete(POSITIONS, build_position(self.group, partition))
            _write(writer, self, state)
        if state.gone != b"":
            return False
        store.drop(self.space)
        with store.write(durable=False) as writer:
            writer.delete(POSITIONS, build_position(self.group))
        return True


def begin(writer: OnlineWriter, group: FeatureGroupDef, parts: Sequence[SourcePart]) -> None:
    """Begin to build a group from every partition, unless it is being built: each barrier is the partition's position in
    this transaction. A group that stands in all of them is built beside itself."""
    at = [position(writer, source_position(part.place)) or 0 for part in parts]
    stands = [position(writer, group_position(group, part.partition)) for part in parts]
    if any(writer.get(POSITIONS, build_position(group, part.partition)) is not None for part in parts):
        return
    _begin(writer, group, at, beside=not any(a and s is None for a, s in zip(at, stands, strict=True)))


def restart(writer: OnlineWriter, building: Building, parts: Sequence[SourcePart]) -> None:
    """Forget what was built and begin again, with each partition's position in this transaction as its barrier."""
    _begin(
        writer, building.group, [position(writer, source_position(part.place)) or 0 for part in parts], building.state.beside
    )


def complete(view: OnlineReader | OnlineWriter, group: FeatureGroupDef, partitions: int) -> bool:
    """Whether what is built beside a group has come to the barrier of every partition."""
    found = view.fetch([(POSITIONS, build_position(group, partition)) for partition in range(partitions)])
    return all(stored is None or _STATE.decode(stored).position >= _STATE.decode(stored).barrier for stored in found)


def begin_missing(store: OnlineStore, groups: Sequence[FeatureGroupDef], parts: Sequence[SourcePart]) -> None:
    """Begin to build the groups that neither stand nor are being built in some partition, or did not follow it: nobody
    declared them for a while. Each in every partition, and in an empty space. By one caller at a time."""
    with store.read() as view:
        lost = [group for group in groups if _is_lost(view, group, parts)]
    if not lost:
        return
    with store.write(durable=False) as writer:  # from here on nobody writes their tiles
        for group in lost:
            for part in parts:
                writer.delete(POSITIONS, group_position(group, part.partition))
                writer.delete(POSITIONS, build_position(group, part.partition))
    for group in lost:
        store.drop(tiles_space(group))
        store.drop(_beside(group))
    with store.write(durable=False) as writer:
        for group in lost:
            begin(writer, group, parts)


def buildings(
    view: OnlineReader | OnlineWriter, groups: Sequence[FeatureGroupDef], partition: int = 0
) -> dict[str, Building]:
    """The groups that are being built from a partition, by the space of their tiles."""
    stored = [(group, view.get(POSITIONS, build_position(group, partition))) for group in groups]
    return {
        tiles_space(group): Building(group, _STATE.decode(state), partition) for group, state in stored if state is not None
    }


def _is_lost(view: OnlineReader | OnlineWriter, group: FeatureGroupDef, parts: Sequence[SourcePart]) -> bool:
    keys = [
        [source_position(p.place), group_position(group, p.partition), build_position(group, p.partition)] for p in parts
    ]
    found = iter(view.fetch([(POSITIONS, key) for row in keys for key in row]))  # of one moment
    for at, stands, building in zip(found, found, found, strict=True):
        if at is None or not unpack(at):
            continue
        if stands is None and building is None:
            return True
        state = None if building is None else _STATE.decode(building)
        if stands not in (None, at) or (state is not None and state.gone != b"" and state.live != unpack(at)):
            return True
    return False


def _begin(writer: OnlineWriter, group: FeatureGroupDef, at: Sequence[int], beside: bool) -> None:
    space = _beside(group) if beside else tiles_space(group)
    for key in [key for key, _ in writer.scan(space)]:
        writer.delete(space, key)
    for partition, barrier in enumerate(at):
        if not beside:
            writer.delete(POSITIONS, group_position(group, partition))
        if beside or barrier:  # a partition without any event has nothing to build
            state = _State(barrier, barrier, beside=beside)
            writer.put(POSITIONS, build_position(group, partition), msgspec.msgpack.encode(state))


def _beside(group: FeatureGroupDef) -> str:
    return f"{tiles_space(group)}/again"


def _next(writer: OnlineWriter, space: str, after: bytes | None) -> list[tuple[bytes, bytes]]:
    """The next entities behind ``after``."""
    found: list[tuple[bytes, bytes]] = []
    for pair in writer.scan(space, start=b"" if after is None else after + b"\0"):
        found.append(pair)
        if len(found) == _AT_ONCE:
            break
    return found


def _write(writer: OnlineWriter, building: Building, state: _State) -> None:
    writer.put(POSITIONS, build_position(building.group, building.partition), msgspec.msgpack.encode(state))
