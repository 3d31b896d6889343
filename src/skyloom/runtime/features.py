"""`skyloom features`: the groups that are kept up to date, and what one feature is made of and used by."""

from collections.abc import Iterator, Sequence

import msgspec

from skyloom.features.building import Building, buildings
from skyloom.features.spaces import group_position, pack, position, progress_space, source_position, tiles_space, unpack
from skyloom.ingest.sink import events_topic
from skyloom.kernel.errors import NotFound
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef, ModelDef, ProjectDef, SourceDef
from skyloom.kernel.records.release import Release
from skyloom.kernel.units import format_duration
from skyloom.platform import Platform
from skyloom.runtime.served import released, worker_project

BUILT, BUILDING, REBUILDING = "built", "building", "rebuilding"


class GroupStanding(msgspec.Struct, frozen=True):
    """One group: how it is declared and how it stands.

    ``state`` is ``built``, ``building`` (it cannot be read before its tiles hold all history), or ``rebuilding`` (it is
    read as it was until then); ``left`` counts the offsets of history still to be built. ``behind`` is how many offsets the
    stream is beyond it; ``fresh_ms`` is the moment at which it last folded anything (``None``: never).
    """

    name: str
    source: str
    entity: tuple[str, ...]
    features: tuple[str, ...]
    windows: tuple[str, ...]
    hops: tuple[str, ...]
    lateness: str
    tiles: str
    state: str
    left: int
    behind: int
    fresh_ms: int | None


class FeatureLineage(msgspec.Struct, frozen=True):
    """One feature and what it is made of, in words and as its definition. ``models`` declare it as an input; ``served``
    has, for each model that the release ``release`` serves with it, the versions that answer."""

    name: str
    made_of: str
    aggregate: AggregateDef
    group: GroupStanding
    table: str | None
    stream: str | None
    models: tuple[str, ...]
    release: int | None
    served: dict[str, tuple[int, ...]]


def standings(platform: Platform) -> list[GroupStanding]:
    """Every group that is kept: those applied, and those that a released version still reads (``NAME@ID``)."""
    project = worker_project(platform)
    return [_standing(platform, name, group) for name, group in project.groups.items()]


def lineages(platform: Platform, name: str) -> list[FeatureLineage]:
    """What a feature is made of, or every feature of a group. Raises `NotFound` with the nearest names."""
    project, release = worker_project(platform), released(platform)
    group_name, found = found_features(project, name)
    group = project.groups[group_name]
    stands, source = _standing(platform, group_name, group), project.sources[group.source]
    return [_lineage(each, stands, source, group, project, release) for each in found]


def found_features(project: ProjectDef, name: str) -> tuple[str, list[AggregateDef]]:
    """The group that ``name`` names, with all its features, or with the one that it names.

    A feature is named as in X (``carrier_recent_delay_1h``), or with a point: ``carrier_recent.delay_1h``.
    Raises `NotFound` with the nearest names.
    """
    if name in project.groups:
        return name, list(project.groups[name].aggregates)
    known: list[str] = list(project.groups)
    for group_name, aggregate in _features(project):
        if name in (f"{group_name}_{aggregate.name}", f"{group_name}.{aggregate.name}"):
            return group_name, [aggregate]
        known.append(f"{group_name}_{aggregate.name}")
    near = nearest(name, known) or list(project.groups)
    fix = f"did you mean {' or '.join(near)}?" if near else "declare sky.Features and type: skyloom apply"
    raise NotFound(f"there is no feature and no group {name!r}", tried=", ".join(project.groups), fix=fix)


def made_of(aggregate: AggregateDef) -> str:
    """A feature's definition in words.

    >>> made_of(AggregateDef("delay_1h", "mean", "delay", 3_600_000, 300_000))
    'mean of delay over 1h, in steps of 5m'
    """
    window, hop = format_duration(aggregate.window_ms), format_duration(aggregate.hop_ms)
    return f"{aggregate.kind} of {aggregate.column or 'events'} over {window}, in steps of {hop}"


def _features(project: ProjectDef) -> Iterator[tuple[str, AggregateDef]]:
    for name, group in project.groups.items():
        for aggregate in group.aggregates:
            yield name, aggregate


def _standing(platform: Platform, name: str, group: FeatureGroupDef) -> GroupStanding:
    end = platform.log.end(events_topic(group.source))
    with platform.online.read() as view:
        folded = position(view, source_position(group.source)) or 0
        stands = position(view, group_position(group))
        building = buildings(view, [group]).get(tiles_space(group))
        entry = view.get(progress_space(group.source), pack(folded)) if folded else None
    return GroupStanding(
        name=name,
        source=group.source,
        entity=group.by,
        features=tuple(aggregate.name for aggregate in group.aggregates),
        windows=_lengths([aggregate.window_ms for aggregate in group.aggregates]),
        hops=_lengths([aggregate.hop_ms for aggregate in group.aggregates]),
        lateness=format_duration(group.lateness_ms),
        tiles=tiles_space(group),
        state=_state(stands, folded, building),
        left=0 if building is None else building.left,
        behind=end - (stands or 0),
        fresh_ms=None if entry is None else unpack(entry),
    )


def _state(stands: int | None, folded: int, building: Building | None) -> str:
    if stands is None and folded:
        return BUILDING
    return BUILT if building is None else REBUILDING


def _lineage(
    aggregate: AggregateDef,
    stands: GroupStanding,
    source: SourceDef,
    group: FeatureGroupDef,
    project: ProjectDef,
    release: Release | None,
) -> FeatureLineage:
    routes = {} if release is None or release.groups.get(group.name) != group else release.routes
    return FeatureLineage(
        name=f"{stands.name}_{aggregate.name}",
        made_of=made_of(aggregate),
        aggregate=aggregate,
        group=stands,
        table=source.table,
        stream=source.stream,
        models=tuple(model.name for model in project.models.values() if _uses(model, stands.name, aggregate.name)),
        release=None if release is None else release.number,
        served={
            name: tuple(sorted(arm.version for arm in route.arms))
            for name, route in routes.items()
            if _uses(route.model, group.name, aggregate.name)
        },
    )


def _uses(model: ModelDef, group: str, aggregate: str) -> bool:
    return any(wanted.group == group and wanted.aggregate == aggregate for wanted in model.inputs)


def _lengths(durations: Sequence[int]) -> tuple[str, ...]:
    return tuple(format_duration(length) for length in sorted(set(durations)))
