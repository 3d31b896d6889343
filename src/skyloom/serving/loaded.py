"""A release in memory: every package loaded and checked, every input's way from a request worked out. Immutable."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from skyloom.features.online.lookup import OnlineFeatures
from skyloom.features.online.rows import OnlineTables
from skyloom.governance.access import Keyring
from skyloom.ingest.rows import RowType, Value
from skyloom.kernel.errors import PackageError
from skyloom.kernel.expr import reader
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import FeatureGroupDef, InputDef, ModelDef, SourceDef
from skyloom.kernel.records.release import Arm, Release, Route
from skyloom.kernel.sticky import BUCKETS
from skyloom.package import LoadedPackage
from skyloom.ports import OnlineStore
from skyloom.serving.batch_cost import Cost
from skyloom.serving.batch_queue import Plan, plan_for
from skyloom.serving.logbook import Policy, policy_of
from skyloom.serving.quarantine import Guard, Quarantined

Wanted = tuple[str, tuple[int, ...]]
Getter = Callable[[tuple[Value, ...]], Value]
Take = Callable[[tuple[Value, ...]], tuple[Value, ...]]


class LoadedArm(NamedTuple):
    """A version that answers (or shadows). ``row_s`` is how long it took for a row when it was loaded, in seconds, ``cost``
    what several at once take; ``guard`` is to be entered while it is asked."""

    arm: Arm
    package: LoadedPackage
    row_s: float = 0.0
    guard: Guard | None = None
    cost: Cost = Cost()


class Lookup(NamedTuple):
    """One lookup in an entity table, and where its key is in the row so far."""

    name: str
    table: str
    entity: tuple[int, ...]
    attributes: tuple[str, ...]


class LoadedRoute(NamedTuple):
    """How one model is served.

    ``arms`` take traffic by ``shares``, the canary first. ``lookups`` append the columns of entity tables to the request.
    ``wanted`` are the (group, positions of the entity's columns in that row) pairs that one read of the online store
    fetches, ``entities`` the same with what takes those columns from it; ``take`` makes the model's inputs, in order, of
    that row with the values of all wanted groups after it.
    """

    model: ModelDef
    source: SourceDef
    rows: RowType
    salt: str
    arms: tuple[LoadedArm, ...]
    shares: tuple[int, ...]
    shadows: tuple[LoadedArm, ...]
    lookups: tuple[Lookup, ...]
    wanted: tuple[Wanted, ...]
    entities: tuple[tuple[str, Take], ...]
    take: Take
    key: int
    time: int
    policy: Policy
    """What is kept of its predictions."""
    batching: Plan | None = None
    """How its requests are gathered; ``None``: each is answered by itself."""


class LoadedRelease(NamedTuple):
    """What a request is answered with, whole. ``digest`` names it; ``refused`` are models that are not loaded, and why."""

    digest: str
    release: Release
    routes: Mapping[str, LoadedRoute]
    features: OnlineFeatures
    tables: OnlineTables
    keys: Keyring
    refused: Mapping[str, str]

    @property
    def short(self) -> str:
        """The first twelve digits of the digest."""
        return self.digest[:12]


class Handled(NamedTuple):
    """How a package is handled: how long it takes for a row, in seconds, what stands around it, and how long it takes for
    several rows."""

    row_s: float = 0.0
    guard: Guard | None = None
    cost: Cost = Cost()


def assemble(
    digest: str,
    release: Release,
    online: OnlineStore,
    package: Callable[[str], LoadedPackage],
    handled: Callable[[str], Handled] = lambda digest: Handled(),
) -> LoadedRelease:
    """A release with its packages, got from ``package`` by digest and then ``handled`` so; a model with a package that is
    quarantined is left out.

    Raises `PackageError` when a version was not made for the definitions of the release.
    """
    routes: dict[str, LoadedRoute] = {}
    refused: dict[str, str] = {}
    for name, route in release.routes.items():
        try:
            arms = [LoadedArm(arm, package(arm.package), *handled(arm.package)) for arm in route.arms]
        except Quarantined as error:
            refused[name] = error.what
        else:
            routes[name] = _route(route, release, arms)
    windowed = {name: group for name, group in release.groups.items() if not group.attributes}
    features, tables = OnlineFeatures(online, windowed), OnlineTables(online, release.groups)
    return LoadedRelease(digest, release, routes, features, tables, Keyring(release.keys), refused)


def _route(route: Route, release: Release, loaded: Sequence[LoadedArm]) -> LoadedRoute:
    for each in loaded:
        _require_fit(each, route.model, release.groups)
    serving = sorted((each for each in loaded if each.arm.role != "shadow"), key=lambda each: each.arm.role != "canary")
    shares = tuple(each.arm.share for each in serving)
    if sum(shares) != BUCKETS:
        raise PackageError(f"the arms of {route.model.name} share {sum(shares)} of {BUCKETS} parts of the traffic")
    schema = release.sources[route.model.requests].schema
    lookups = _lookups(route.model, schema.names, release.groups)
    names = (*schema.names, *(f"{each.name}.{attribute}" for each in lookups for attribute in each.attributes))
    wanted = tuple(
        dict.fromkeys((ref.group, _positions(ref.entity, names)) for each in route.model.inputs for ref in each.features)
    )
    return LoadedRoute(
        model=route.model,
        source=release.sources[route.model.requests],
        rows=RowType(schema),
        salt=route.salt,
        arms=tuple(serving),
        shares=shares,
        shadows=tuple(each for each in loaded if each.arm.role == "shadow"),
        lookups=lookups,
        wanted=wanted,
        entities=tuple((group, _take(columns)) for group, columns in wanted),
        take=_take([_getter(each, names, wanted, release.groups) for each in route.model.inputs]),
        key=schema.names.index(schema.key),
        time=schema.names.index(schema.time),
        policy=policy_of(route.model),
        batching=plan_for([each.cost for each in serving], route.model.max_latency_ms),
    )


def _require_fit(loaded: LoadedArm, model: ModelDef, groups: Mapping[str, FeatureGroupDef]) -> None:
    """A version answers only for the inputs and the features that it learned from: anything else would be skew."""
    names = tuple(each.name for each in model.inputs)
    if loaded.package.scorer.signature.names != names:
        raise PackageError(
            f"{model.name} v{loaded.arm.version} takes other inputs than the release gives",
            tried=f"it takes {loaded.package.scorer.signature.names}, it would get {names}",
        )
    for group, learned in loaded.package.manifest.groups.items():
        if group not in groups or content_id(groups[group]) != learned:
            raise PackageError(f"{model.name} v{loaded.arm.version} learned from another definition of {group}")


def _getter(
    each: InputDef, names: tuple[str, ...], wanted: tuple[Wanted, ...], groups: Mapping[str, FeatureGroupDef]
) -> int | Getter:
    """Where an input is in a row, or what makes it of one."""
    places = {name: position for position, name in enumerate(names)}
    for ref in each.features:
        pair = wanted.index((ref.group, _positions(ref.entity, names)))
        before = sum(len(groups[group].aggregates) for group, _ in wanted[:pair])
        aggregate = [a.name for a in groups[ref.group].aggregates].index(ref.aggregate)
        places[ref.column] = len(names) + before + aggregate
    if each.expression is None:
        return places[each.features[0].column]
    if each.expression.op == "col":
        return places[str(each.expression.value)]
    return reader(each.expression, lambda leaf: itemgetter(places[str(leaf.value)]))


def _take(inputs: Sequence[int | Getter]) -> Take:
    """What makes the inputs of a row: one step where they stand side by side."""
    first = inputs[0] if inputs else 0
    if isinstance(first, int) and list(inputs) == list(range(first, first + len(inputs))):
        return itemgetter(slice(first, first + len(inputs)))
    getters = [itemgetter(each) if isinstance(each, int) else each for each in inputs]
    return lambda row: tuple([get(row) for get in getters])


def _positions(columns: tuple[str, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(names.index(column) for column in columns)


def _lookups(model: ModelDef, names: tuple[str, ...], groups: Mapping[str, FeatureGroupDef]) -> tuple[Lookup, ...]:
    made: list[Lookup] = []
    for each in model.lookups:
        table = groups[each.group]
        entity = _positions(each.entity, names)
        made.append(Lookup(each.name, each.group, entity, table.attributes))
        names = (*names, *(f"{each.name}.{attribute}" for attribute in table.attributes))
    return tuple(made)
