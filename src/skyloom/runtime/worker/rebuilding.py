"""A group built anew from the lake while it is served: asked for here, done by whoever owns the stream work."""

import msgspec

from skyloom.features.online.building import begin, buildings
from skyloom.features.spaces import position, source_position
from skyloom.ingest.partitions import SourcePart, parts_of
from skyloom.ingest.sink import events_topic
from skyloom.kernel.errors import NotFound
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.platform import Platform
from skyloom.runtime.state import applied


class Progress(msgspec.Struct, frozen=True):
    """How far a building is: ``position`` of ``barrier`` offsets of the log are in (summed over the partitions of the
    source); ``done`` when nothing is being built any more. While ``done`` is false and position equals barrier, entities are
    being taken over."""

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
        parts = _parts(platform, definition)
        if any(position(writer, source_position(part.place)) for part in parts):  # before the first event there is nothing
            begin(writer, definition, parts)
    return progress_of(platform, group)


def progress_of(platform: Platform, group: str) -> Progress:
    """How far the building of a group is. Raises `NotFound`."""
    definition = _group(platform, group)
    with platform.online.read() as view:
        parts = _parts(platform, definition)
        found = [(part, b.state) for part in parts for b in buildings(view, [definition], part.partition).values()]
        at = sum(part.in_log(position(view, source_position(part.place)) or 0) for part in parts)
    if not found:
        return Progress(group, at, at, True)
    done, wanted = sum(part.in_log(s.position) for part, s in found), sum(part.in_log(s.barrier) for part, s in found)
    return Progress(group, done, wanted, False)


def _parts(platform: Platform, group: FeatureGroupDef) -> list[SourcePart]:
    source = applied(platform.metadata).project.sources[group.source]
    return parts_of(source, platform.log.partitions(events_topic(group.source)))


def _group(platform: Platform, name: str) -> FeatureGroupDef:
    groups = applied(platform.metadata).project.groups
    if name not in groups:
        near = nearest(name, list(groups)) or sorted(groups)
        fix = f"did you mean {' or '.join(near)}?" if near else "declare sky.Features and type: skyloom apply"
        raise NotFound(f"there is no feature group {name!r}", tried=", ".join(groups), fix=fix)
    return groups[name]
