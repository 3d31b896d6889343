"""Routes: which arms of a model a release holds, the canary first, so that a ramp only ever adds units to it."""

from collections.abc import Mapping

from skyloom.delivery.rollout import Plan, share_of
from skyloom.kernel.records.definitions import ModelDef
from skyloom.kernel.records.release import Arm, Release, Rollout, Route
from skyloom.kernel.sticky import BUCKETS


def champion_only(model: ModelDef, version: int, package: str, salt: str) -> Route:
    """All units to one version, of which ``package`` is the digest of the manifest."""
    return Route(model, (Arm(version, package, BUCKETS, "champion"),), salt)


def with_canary(route: Route, version: int, package: str, share: int, salt: str) -> Route:
    """``share`` (of 10,000) of the units to a challenger, the others to the champion; what the champion answers the
    challenger goes on to answer unseen, so that both are known on the same requests."""
    champion = champion_of(route)
    canary, shadow = Arm(version, package, share, "canary"), Arm(version, package, 0, "shadow")
    stable = Arm(champion.version, champion.package, BUCKETS - share, "champion")
    return Route(route.model, (canary, stable, shadow), salt)


def with_shadow(route: Route, version: int, package: str, salt: str) -> Route:
    """All units to the champion; a challenger answers unseen."""
    champion = champion_of(route)
    stable = Arm(champion.version, champion.package, BUCKETS, "champion")
    return Route(route.model, (stable, Arm(version, package, 0, "shadow")), salt)


def champion_of(route: Route) -> Arm:
    """The arm of the champion."""
    return next(arm for arm in route.arms if arm.role == "champion")


def route_for(rollout: Rollout, plan: Plan, model: ModelDef, packages: Mapping[int, str]) -> Route:
    """The route that a rollout asks for in its present state; ``packages`` has the digests of both versions.

    The same state asks for the same route: whoever publishes may compare it with the present one and do nothing.
    """
    challenger = rollout.challenger
    if rollout.state == "promoted" or rollout.champion is None:
        return champion_only(model, challenger, packages[challenger], rollout.salt)
    stable = champion_only(model, rollout.champion, packages[rollout.champion], rollout.salt)
    if rollout.state in ("rolled_back", "aborted"):
        return stable
    share = share_of(rollout, plan)
    if share == 0:
        return with_shadow(stable, challenger, packages[challenger], rollout.salt)
    return with_canary(stable, challenger, packages[challenger], share, rollout.salt)


def canary_share(release: Release, rollout: Rollout) -> int:
    """The canary's share (of 10,000) of a rollout in a release: 0 where its challenger is no canary with its salt."""
    route = release.routes.get(rollout.model)
    if route is None or route.salt != rollout.salt:
        return 0
    return sum(arm.share for arm in route.arms if arm.role == "canary" and arm.version == rollout.challenger)
