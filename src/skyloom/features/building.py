"""Groups that are built from history while the stream goes on: by an offset barrier, in bounded steps.

When a building begins at the source's position C, the stream folds everything from C on into what is built, and the
builder everything below C from the lake, chunk by chunk; tiles do not depend on the order of events. Each chunk's
transaction moves the building with it, so that a killed builder goes on where it stood. Until the end the group is
*missing*: nothing reads it, and releases go on reading the group that they name.

A group that stands already is built again in a space beside its own, and taken over entity by entity at the end.
"""

from collections.abc import Sequence

import msgspec

from skyloom.features.spaces import POSITIONS, build_position, group_position, pack, position, tiles_space
from skyloom.features.times import keep_ms
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


class Building(msgspec.Struct, frozen=True):
    """A group that is being built, and how far it has come."""

    group: FeatureGroupDef
    state: _State

    @property
    def space(self) -> str:
        """Where its tiles are gathered."""
        return f"{tiles_space(self.group)}/again" if self.state.beside else tiles_space(self.group)

    @property
    def left(self) -> int:
        """Offsets that are still to be folded."""
        return self.state.barrier - self.state.position

    def followed(self, writer: OnlineWriter, end: int) -> None:
        """Write down that the stream is in up to ``end``."""
        _write(writer, self.group, msgspec.structs.replace(self.state, live=end))

    def moved(self, writer: OnlineWriter, upto: int, source_position: int) -> "Building":
        """The building once everything below ``upto`` is in; written down. A new group is readable when it is complete."""
        state = msgspec.structs.replace(self.state, position=min(upto, self.state.barrier))
        if state.position < state.barrier or state.beside:
            _write(writer, self.group, state)
        else:
            writer.delete(POSITIONS, build_position(self.group))
            writer.put(POSITIONS, group_position(self.group), pack(source_position))
        return Building(self.group, state)

    def take_over(self, store: OnlineStore) -> bool:
        """Let the group's own space be what was built beside it, some entities in one transaction; whether it is done."""
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
            _write(writer, self.group, state)
        if state.gone != b"":
            return False
        store.drop(self.space)
        with store.write(durable=False) as writer:
            writer.delete(POSITIONS, build_position(self.group))
        return True


def begin(writer: OnlineWriter, group: FeatureGroupDef, barrier: int) -> None:
    """Begin to build a group, unless it is being built: ``barrier`` is the source's position in this transaction."""
    if writer.get(POSITIONS, build_position(group)) is None:
        beside = position(writer, group_position(group)) is not None
        _write(writer, group, _State(barrier, barrier, beside=beside))


def restart(writer: OnlineWriter, building: Building, barrier: int) -> None:
    """Forget what was built and begin again, with the source's position in this transaction as the barrier."""
    for key in [key for key, _ in writer.scan(building.space)]:
        writer.delete(building.space, key)
    _write(writer, building.group, _State(barrier, barrier, beside=building.state.beside))


def forget_stale(store: OnlineStore, groups: Sequence[FeatureGroupDef], at: int) -> None:
    """Let groups be missing that did not follow their source up to its position ``at``: nobody declared them meanwhile."""
    with store.read() as view:
        old = [group for group in groups if position(view, group_position(group)) not in (None, at)]
        left = [building for building in buildings(view, groups).values() if building.state.live != at]
    if not old and not left:
        return
    with store.write(durable=False) as writer:
        for group in old:
            writer.delete(POSITIONS, group_position(group))
        for building in left:
            writer.delete(POSITIONS, build_position(building.group))
    for building in left:
        store.drop(building.space)


def begin_missing(store: OnlineStore, groups: Sequence[FeatureGroupDef], at: int) -> None:
    """Begin to build the groups that are neither there nor being built, each in an empty space."""
    with store.read() as view:
        known = buildings(view, groups)
        new = [g for g in groups if position(view, group_position(g)) is None and tiles_space(g) not in known]
    for group in new:
        store.drop(tiles_space(group))
    if new:
        with store.write(durable=False) as writer:
            for group in new:
                begin(writer, group, at)


def buildings(view: OnlineReader | OnlineWriter, groups: Sequence[FeatureGroupDef]) -> dict[str, Building]:
    """The groups that are being built, by the space of their tiles."""
    stored = [(group, view.get(POSITIONS, build_position(group))) for group in groups]
    return {
        tiles_space(group): Building(group, msgspec.msgpack.decode(state, type=_State))
        for group, state in stored
        if state is not None
    }


def _next(writer: OnlineWriter, space: str, after: bytes | None) -> list[tuple[bytes, bytes]]:
    """The next entities behind ``after``."""
    found: list[tuple[bytes, bytes]] = []
    for pair in writer.scan(space, start=b"" if after is None else after + b"\0"):
        found.append(pair)
        if len(found) == _AT_ONCE:
            break
    return found


def _write(writer: OnlineWriter, group: FeatureGroupDef, state: _State) -> None:
    writer.put(POSITIONS, build_position(group), msgspec.msgpack.encode(state))
