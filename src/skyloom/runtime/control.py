"""Steering: who is champion, which rollout runs, and the release that follows from both."""

from functools import partial

import msgspec

from skyloom.delivery.canary import Limits
from skyloom.delivery.release import current, publish
from skyloom.delivery.rollout import FINISHED, Plan, begin, finish
from skyloom.delivery.routes import champion_only, route_for
from skyloom.governance.keys import active_keys
from skyloom.kernel.errors import Conflict, NotFound, Refused, UsageError
from skyloom.kernel.ids import new_id
from skyloom.kernel.records.definitions import FeatureGroupDef, ProjectDef, SourceDef
from skyloom.kernel.records.registry import Override, Package, Version
from skyloom.kernel.records.release import Release, Rollout, Route
from skyloom.monitoring.outcomes import outcomes_end
from skyloom.platform import Platform
from skyloom.ports.metadata import Transaction
from skyloom.registry.champion import Champion, champion_of, crown, predecessor
from skyloom.registry.versions import get_version, override
from skyloom.runtime.definitions import definition_of
from skyloom.runtime.state import applied, read, write

ROLLOUT, HISTORY = "rollout", "rollout_history"
_RACES = 20


def release_version(platform: Platform, version: Version, *, actor: str) -> Rollout:
    """Let a version that may serve begin its rollout; it replaces one that is under way.

    The first version of a model becomes its champion at once. Raises `Refused` for a version that may not serve, or whose
    inputs the champion's release cannot give.
    """
    if not version.may_serve:
        raise Refused(
            f"{version.model} v{version.number} did not pass its gates",
            tried="; ".join(gate.reason for gate in version.gates if not gate.passed),
            fix=_override_command(version),
        )
    _require_shared_groups(platform, version)
    champion = champion_of(platform.metadata, version.model)
    if champion is not None:
        _require_comparable(platform, version, champion.version)
    now = platform.clock.now_ms()
    with platform.online.read() as view:
        start = outcomes_end(view, version.model)
    id = new_id("rollout")
    fresh = Rollout(
        id=id,
        model=version.model,
        champion=champion.version if champion else None,
        challenger=version.number,
        salt=id,
        state="shadow",
        stage=0,
        stage_started_ms=now,
        started_ms=now,
        start=start,
    )
    decision = begin(fresh, plan_of(platform, fresh))
    _replace_rollout(platform, decision.rollout, actor)
    if decision.action == "promote":
        crown_challenger(platform, decision.rollout, actor=actor)
    reconcile(platform, actor=actor)
    return decision.rollout


def promote(platform: Platform, model: str, number: int, *, actor: str, reason: str, override_gates: bool = False) -> None:
    """Make a version the champion now, by hand; a rollout under way is ended. Raises `Refused` when it may not serve, or
    reads features that the other models' champions define otherwise, and `UsageError` without a reason."""
    _require_reason(reason)
    version = get_version(platform.metadata, model, number)
    _require_shared_groups(platform, version)
    if not version.may_serve:
        if not override_gates:
            failed = "; ".join(gate.reason for gate in version.gates if not gate.passed)
            raise Refused(f"{model} v{number} did not pass its gates", tried=failed, fix=_override_command(version))
        override(platform.metadata, model, number, Override(actor, platform.clock.now_ms(), reason), actor=actor)
    now = champion_of(platform.metadata, model)
    record = Champion(model, number, platform.clock.now_ms(), actor, reason)
    crown(platform.metadata, record, instead_of=now.version if now else None)
    end_rollout(platform, model, actor=actor, reason=f"v{number} was promoted by hand: {reason}")
    reconcile(platform, actor=actor)


def rollback(platform: Platform, model: str, *, actor: str, reason: str) -> int:
    """End a rollout under way, or, when none is, go back to the champion before; the version that serves afterwards."""
    _require_reason(reason)
    under_way = rollout_of(platform, model)
    if under_way is not None and under_way.state not in FINISHED and under_way.champion is not None:
        end_rollout(platform, model, actor=actor, reason=f"rolled back by hand: {reason}", state="rolled_back")
        reconcile(platform, actor=actor)
        return under_way.champion
    before = predecessor(platform.metadata, model)
    promote(platform, model, before.version, actor=actor, reason=f"rollback: {reason}")
    return before.version


def end_rollout(platform: Platform, model: str, *, actor: str, reason: str, state: str = "aborted") -> None:
    """End the rollout of a model, when one is under way."""
    under_way = rollout_of(platform, model)
    if under_way is not None and under_way.state not in FINISHED:
        store_rollout(platform, finish(under_way, state, reason), actor=actor)


def rollout_of(platform: Platform, model: str) -> Rollout | None:
    """The last rollout of a model, under way or ended."""
    return read(platform.metadata, ROLLOUT, model, Rollout)


def store_rollout(platform: Platform, rollout: Rollout, *, actor: str) -> None:
    """Record how a rollout stands; when it ended in a promotion, its challenger becomes champion.

    Raises `Conflict` when another rollout of the model has begun meanwhile.
    """
    with platform.metadata.transaction(actor) as transaction:
        now = read(transaction, ROLLOUT, rollout.model, Rollout)
        if now is not None and (now.id != rollout.id or now.state in FINISHED):
            raise Conflict(f"rollout {rollout.id} of {rollout.model} is not the one under way any more")
        write(transaction, ROLLOUT, rollout.model, rollout, action=f"rollout.{rollout.state}")
    if rollout.state == "promoted":
        crown_challenger(platform, rollout, actor=actor)


def plan_of(platform: Platform, rollout: Rollout) -> Plan:
    """How a rollout goes: the stages of its challenger's definition, the thresholds of both versions."""
    challenger = get_version(platform.metadata, rollout.model, rollout.challenger)
    model = definition_of(platform, challenger).model
    numbers = [number for number in (rollout.champion, rollout.challenger) if number is not None]
    thresholds = {number: _package(platform, rollout.model, number).threshold for number in numbers}
    latency = next((gate.limit_ms for gate in model.loop.gates if gate.kind == "latency_p99"), None)
    return Plan(model.loop.rollout, Limits(thresholds, latency, model.task))


def reconcile(platform: Platform, *, actor: str) -> bool:
    """Publish the release that follows from champions, rollouts and keys, if it is not the present one; whether it did."""
    for _ in range(_RACES):
        found = current(platform.objects, platform.verifier)
        wanted = _compose(platform, found, actor)
        if found is not None and _same(found[1], wanted):
            return False
        try:
            publish(platform.objects, platform.signer, wanted, found[0].encode() if found else None)
        except Conflict:
            continue
        return True
    raise Conflict("somebody else releases all the time", fix="try again")


def _compose(platform: Platform, found: tuple[str, Release] | None, actor: str) -> Release:
    project = applied(platform.metadata).project
    champions = _champions(platform, project)
    kept = {name: definition_of(platform, version).project for name, version in champions.items()}
    routes = {
        name: _route(platform, _served_as_now(each, project, name), name, champions[name].number)
        for name, each in kept.items()
    }
    groups = _shared_groups(kept)
    sources: dict[str, SourceDef] = dict(project.sources)
    for each in kept.values():
        sources |= {source: definition for source, definition in each.sources.items() if source not in sources}
    reason = ", ".join(f"{name}: {_described(route)}" for name, route in routes.items()) or "nothing serves yet"
    keys, now = active_keys(platform.metadata), platform.clock.now_ms()
    before, number = (found[0], found[1].number + 1) if found else ("", 1)
    return Release(number, now, reason, actor, routes, sources, groups, keys, before)


def _champions(platform: Platform, project: ProjectDef) -> dict[str, Version]:
    found = {name: champion_of(platform.metadata, name) for name in sorted(project.models)}
    return {name: get_version(platform.metadata, name, each.version) for name, each in found.items() if each is not None}


def _served_as_now(kept: ProjectDef, project: ProjectDef, model: str) -> ProjectDef:
    """What is kept of predictions, and what is promised, is what is declared now, whatever was when a version was
    trained."""
    declared = project.models[model]
    now = msgspec.structs.replace(kept.models[model], logbook=declared.logbook, max_latency_ms=declared.max_latency_ms)
    return msgspec.structs.replace(kept, models={**kept.models, model: now})


def _shared_groups(kept: dict[str, ProjectDef]) -> dict[str, FeatureGroupDef]:
    groups: dict[str, FeatureGroupDef] = {}
    for model, project in kept.items():
        for name, group in project.groups.items():
            if groups.setdefault(name, group) != group:
                raise Refused(
                    f"{model} learned from another definition of {name} than the other models that serve",
                    fix=f"give the changed features another name, or train {model} again",
                )
    return groups


def _require_shared_groups(platform: Platform, version: Version) -> None:
    """A release with this version as a champion could be made; asked first, so that nothing is half done."""
    champions = _champions(platform, applied(platform.metadata).project)
    serving = {**champions, version.model: version}
    _shared_groups({name: definition_of(platform, each).project for name, each in serving.items()})


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("a change by hand needs a reason", fix='--reason "..."')


def _override_command(version: Version) -> str:
    return f"skyloom promote {version.model} {version.number} --override --reason TEXT"


def _route(platform: Platform, kept: ProjectDef, model: str, champion: int) -> Route:
    definition = kept.models[model]
    rollout = rollout_of(platform, model)
    package = partial(_digest, platform, model)
    if rollout is None or champion not in (rollout.champion, rollout.challenger):
        return champion_only(definition, champion, package(champion), model)
    numbers = [number for number in (rollout.champion, rollout.challenger) if number is not None]
    packages = {number: package(number) for number in numbers}
    if rollout.state in FINISHED:
        return champion_only(definition, champion, packages[champion], rollout.salt)
    return route_for(rollout, plan_of(platform, rollout), definition, packages)


def _same(one: Release, other: Release) -> bool:
    return (
        msgspec.structs.replace(
            one,
            number=other.number,
            created_ms=other.created_ms,
            actor=other.actor,
            reason=other.reason,
            before=other.before,
        )
        == other
    )


def _described(route: Route) -> str:
    return " + ".join(f"v{arm.version} {arm.role} {arm.share / 100:g}%" for arm in route.arms)


def _replace_rollout(platform: Platform, rollout: Rollout, actor: str) -> None:
    with platform.metadata.transaction(actor) as transaction:
        _retire(transaction, rollout.model)
        write(transaction, ROLLOUT, rollout.model, rollout, action="rollout.begin")


def _retire(transaction: Transaction, model: str) -> None:
    before = read(transaction, ROLLOUT, model, Rollout)
    if before is None:
        return
    if before.state not in FINISHED:
        before = finish(before, "aborted", "a newer version began its rollout")
    write(transaction, HISTORY, before.id, before, action=f"rollout.{before.state}")


def crown_challenger(platform: Platform, rollout: Rollout, *, actor: str) -> None:
    """Make the challenger of a promoted rollout the champion, in the place of the one it was compared with."""
    record = Champion(rollout.model, rollout.challenger, platform.clock.now_ms(), actor, rollout.reason)
    crown(platform.metadata, record, instead_of=rollout.champion)


def _require_comparable(platform: Platform, version: Version, champion: int) -> None:
    theirs = definition_of(platform, get_version(platform.metadata, version.model, champion))
    ours = definition_of(platform, version)
    if ours.model.inputs != theirs.model.inputs or ours.project.groups != theirs.project.groups:
        raise Refused(
            f"{version.model} v{version.number} reads other features than v{champion}, which serves: no canary can "
            "compare them in one release yet",
            tried=f"the inputs of both versions: {len(ours.model.inputs)} and {len(theirs.model.inputs)}",
            fix=f"skyloom promote {version.model} {version.number} --reason TEXT",
        )


def _digest(platform: Platform, model: str, number: int) -> str:
    return get_version(platform.metadata, model, number).package


def _package(platform: Platform, model: str, number: int) -> Package:
    return msgspec.json.decode(platform.objects.get(_digest(platform, model, number)), type=Package)


def require_rollout(platform: Platform, model: str) -> Rollout:
    """The last rollout of a model. Raises `NotFound` when there was none."""
    found = rollout_of(platform, model)
    if found is None:
        raise NotFound(f"{model} has had no rollout", fix=f"skyloom train {model}")
    return found
