"""`skyloom features`: the groups that are kept up to date, and what one feature is made of and used by."""

from collections.abc import Sequence

import msgspec

from skyloom.features.online.building import Building, buildings
from skyloom.features.spaces import group_position, pack, position, progress_space, source_position, tiles_space, unpack
from skyloom.ingest.partitions import SourcePart
from skyloom.ingest.sink import events_from, events_topic
from skyloom.kernel.errors import NotFound
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import LIFETIME, AggregateDef, FeatureGroupDef, ModelDef, ProjectDef
from skyloom.kernel.records.release import Release
from skyloom.kernel.units import format_duration
from skyloom.plan.wording import expression_text
from skyloom.platform import Platform
from skyloom.runtime.served import released, worker_project
from skyloom.runtime.worker import source_parts

BUILT, BUILDING, REBUILDING = "built", "building", "rebuilding"


class GroupStanding(msgspec.Struct, frozen=True):
    """One group: how it is declared and how it stands.

    ``state`` is ``built``, ``building`` (it cannot be read before its tiles hold all history), or ``rebuilding`` (it is
    read as it was until then); ``left`` counts the events of history still to be built. ``behind`` is how many rows the log
    is beyond it; ``fresh_ms`` is the moment at which it last folded anything (``None``: never).
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


class Reach(msgspec.Struct, frozen=True):
    """A way to a feature: the ``input`` of ``model`` is it, or is computed with it, for the entity that the columns
    ``entity`` of the request name."""

    model: str
    input: str
    entity: tuple[str, ...]


class FeatureLineage(msgspec.Struct, frozen=True):
    """One feature and what it is made of, in words and as its definition (``None`` for a column of an entity table).

    ``models`` declare it as an input, or a group that holds it, in the ``ways`` given; ``served`` has, for each model that
    the release ``release`` serves with it, the versions that answer.
    """

    name: str
    made_of: str
    aggregate: AggregateDef | None
    group: GroupStanding
    table: str | None
    stream: str | None
    models: tuple[str, ...]
    release: int | None
    served: dict[str, tuple[int, ...]]
    ways: tuple[Reach, ...] = ()


def standings(platform: Platform) -> list[GroupStanding]:
    """Every group that is kept: those applied, and those that a released version still reads (``NAME@ID``)."""
    project = worker_project(platform)
    return [_standing(platform, name, group, project) for name, group in project.groups.items()]


def lineages(platform: Platform, name: str) -> list[FeatureLineage]:
    """What a feature is made of, or every feature of a group. Raises `NotFound` with the nearest names."""
    project, release = worker_project(platform), released(platform)
    group_name, found = found_features(project, name)
    group = project.groups[group_name]
    stands = _standing(platform, group_name, group, project)
    return [_lineage(column, stands, group, project, release) for column in found]


def columns_of(group: FeatureGroupDef) -> tuple[str, ...]:
    """The names of a group's features: its aggregates, or the columns of an entity table."""
    return group.attributes or tuple(aggregate.name for aggregate in group.aggregates)


def found_features(project: ProjectDef, name: str) -> tuple[str, tuple[str, ...]]:
    """The group that ``name`` names, with the names of all its features, or of the one that it names.

    A feature is named as in X (``carrier_recent_delay_1h``, with the prefix of a way to it or without), or with a point:
    ``carrier_recent.delay_1h``.
    Raises `NotFound` with the nearest names.
    """
    if name in project.groups:
        return name, columns_of(project.groups[name])
    known: list[str] = list(project.groups)
    for group_name, group in project.groups.items():
        for column in columns_of(group):
            if name in (f"{group_name}_{column}", f"{group_name}.{column}"):
                return group_name, (column,)
            known.append(f"{group_name}_{column}")
    for wanted in (wanted for model in project.models.values() for wanted in model.inputs if wanted.group is not None):
        if wanted.name == name:
            return str(wanted.group), (str(wanted.aggregate),)
    near = nearest(name, known) or list(project.groups)
    fix = f"did you mean {' or '.join(near)}?" if near else "declare sky.Features and type: skyloom apply"
    raise NotFound(f"there is no feature and no group {name!r}", tried=", ".join(project.groups), fix=fix)


def made_of(aggregate: AggregateDef) -> str:
    """A feature's definition in words.

    >>> made_of(AggregateDef("delay_1h", "mean", "delay", 3_600_000, 300_000))
    'mean of delay over 1h, in steps of 5m'
    >>> from skyloom.kernel.expr import col
    >>> made_of(AggregateDef("late", "count", None, LIFETIME, LIFETIME, where=(col("delay") > 15).expression))
    'count of events where (delay > 15) over all time'
    """
    condition = f" where {expression_text(aggregate.where)}" if aggregate.where else ""
    kind = f"{aggregate.kind} {aggregate.q:g}" if aggregate.q else aggregate.kind
    entry = f", entry {aggregate.entry}" if aggregate.entry else ""
    before = f", {format_duration(aggregate.offset_ms)} before" if aggregate.offset_ms else ""
    return f"{kind} of {aggregate.column or 'events'}{condition} over {_over(aggregate)}{before}{entry}"


def _over(aggregate: AggregateDef) -> str:
    if aggregate.window_ms == LIFETIME:
        return "all time"
    return f"{format_duration(aggregate.window_ms)}, in steps of {format_duration(aggregate.hop_ms)}"


def _standing(platform: Platform, name: str, group: FeatureGroupDef, project: ProjectDef) -> GroupStanding:
    parts = source_parts(platform.log, project.sources[group.source])
    with platform.online.read() as view:
        folded = [position(view, source_position(part.place)) or 0 for part in parts]
        stands = [position(view, group_position(group, part.partition)) for part in parts]
        found = [each for part in parts for each in buildings(view, [group], part.partition).values()]
        entries = [view.get(progress_space(part.place), pack(at)) for part, at in zip(parts, folded, strict=True) if at]
    behind = sum(events_from(platform.log, part, at or 0) for part, at in zip(parts, stands, strict=True))
    return GroupStanding(
        name=name,
        source=group.source,
        entity=group.by,
        features=columns_of(group),
        windows=_lengths([aggregate.window_ms for aggregate in group.aggregates]),
        hops=_lengths([aggregate.hop_ms for aggregate in group.aggregates]),
        lateness=format_duration(group.lateness_ms),
        tiles=tiles_space(group),
        state=_state(any(at and s is None for at, s in zip(folded, stands, strict=True)), found),
        left=sum(_left(platform, group, parts[building.partition], building) for building in found),
        behind=behind,
        fresh_ms=max((unpack(entry) for entry in entries if entry is not None), default=None),
    )


def _left(platform: Platform, group: FeatureGroupDef, part: SourcePart, building: Building) -> int:
    """The events that are to be built still; those in the lake, where offsets do not count rows."""
    table = events_topic(group.source)
    if platform.log.dense or platform.lake.version(table) is None:
        return part.in_log(building.left)
    within: list[tuple[str, str, object]] = [("_offset", ">=", building.state.position)]
    within.append(("_offset", "<", building.state.barrier))
    offsets = platform.lake.read(table, columns=["_offset"], where=within).column("_offset").to_numpy()
    return int(part.holds(offsets).sum())


def _state(missing: bool, found: Sequence[Building]) -> str:
    if missing:
        return BUILDING
    return REBUILDING if found else BUILT


def _lineage(
    column: str, stands: GroupStanding, group: FeatureGroupDef, project: ProjectDef, release: Release | None
) -> FeatureLineage:
    source = project.sources[group.source]
    aggregate = next((each for each in group.aggregates if each.name == column), None)
    routes = {} if release is None or release.groups.get(group.name) != group else release.routes
    return FeatureLineage(
        name=f"{stands.name}_{column}",
        made_of=f"{column} of the newest row" if aggregate is None else made_of(aggregate),
        aggregate=aggregate,
        group=stands,
        table=source.table,
        stream=source.stream,
        models=tuple(model.name for model in project.models.values() if _uses(model, stands.name, column)),
        release=None if release is None else release.number,
        served={
            name: tuple(sorted(arm.version for arm in route.arms))
            for name, route in routes.items()
            if _uses(route.model, group.name, column)
        },
        ways=tuple(way for model in project.models.values() for way in _ways(model, stands.name, column)),
    )


def _ways(model: ModelDef, group: str, column: str) -> list[Reach]:
    return [
        Reach(model.name, wanted.name, ref.entity)
        for wanted in model.inputs
        for ref in wanted.features
        if (ref.group, ref.aggregate) == (group, column)
    ]


def _uses(model: ModelDef, group: str, column: str) -> bool:
    """Whether a model has the feature as an input, computes one with it, or looks rows of its entity table up."""
    return bool(_ways(model, group, column)) or any(lookup.group == group for lookup in model.lookups)


def _lengths(durations: Sequence[int]) -> tuple[str, ...]:
    return tuple("lifetime" if each == LIFETIME else format_duration(each) for each in sorted(set(durations)))
