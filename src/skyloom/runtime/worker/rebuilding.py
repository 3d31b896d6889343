"""A group built anew from the lake while it is served: asked for here, done by whoever owns the stream work."""

import msgspec

from skyloom.features.building import begin, buildings
from skyloom.features.spaces import position, source_position
from skyloom.kernel.errors import NotFound
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.platform import Platform
from skyloom.runtime.state import applied


class Progress(msgspec.Struct, frozen=True):
    """How far a building is: events below ``position`` of ``barrier`` are in (offsets of the source's log); ``done`` when
    nothing is being built any more. While ``done`` is false and position equals barrier, entities are being taken over."""

    group: str
    position: int
    barrier: int
    done: bool


def rebuild(platform: Platform, group: str) -> Progress:
    """Begin to build a group anew from the lake, or find that it is being built; the old values serve until the end.

    Returns at once: `progress_of` tells how far it is, and `skyloom.runtime.ownership.settle` returns when it is done.
    Raises `NotFound` for a group that is not applied.
    """
    definition = _group(platform, group)
    with platform.online.write() as writer:
        at = position(writer, source_position(definition.source)) or 0
        if at:  # before the first event there is nothing to build
            begin(writer, definition, at)
    return progress_of(platform, group)


def progress_of(platform: Platform, group: str) -> Progress:
    """How far the building of a group is. Raises `NotFound`."""
    definition = _group(platform, group)
    with platform.online.read() as view:
        building = next(iter(buildings(view, [definition]).values()), None)
        at = position(view, source_position(definition.source)) or 0
    if building is None:
        return Progress(group, at, at, True)
    return Progress(group, building.state.position, building.state.barrier, False)


def _group(platform: Platform, name: str) -> FeatureGroupDef:
    groups = applied(platform.metadata).project.groups
    if name not in groups:
        near = nearest(name, list(groups)) or sorted(groups)
        fix = f"did you mean {' or '.join(near)}?" if near else "declare sky.Features and type: skyloom apply"
        raise NotFound(f"there is no feature group {name!r}", tried=", ".join(groups), fix=fix)
    return groups[name]
