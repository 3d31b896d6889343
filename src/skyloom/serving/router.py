"""Which version answers which unit."""

import msgspec

from skyloom.kernel.sticky import BUCKETS, arm_of, bucket_of
from skyloom.serving.loaded import LoadedRelease, LoadedRoute
from skyloom.serving.wire import Headers, Problem


def arm_for(route: LoadedRoute, unit: str) -> int:
    """The index of the arm that answers ``unit``: the same one for as long as its share does not shrink."""
    return 0 if len(route.arms) == 1 else arm_of(bucket_of(route.salt, unit), route.shares)


def route_for(release: LoadedRelease, model: str | None, version: str | None = None) -> LoadedRoute:
    """The route of a model; of the only one when none is named; of one of its versions when the caller pins it.

    Raises `Problem` with 404 when there is none.
    """
    if model is not None and model in release.refused:
        raise Problem(503, release.refused[model], retry_s=60.0)
    if model is None:
        if len(release.routes) != 1:
            raise Problem(404, f"name a model, as in /predict/MODEL: there are {_known(release)}")
        return next(iter(release.routes.values()))
    route = release.routes.get(model)
    if route is None:
        raise Problem(404, f"no model {model} is released; there are {_known(release)}")
    return route if version is None else _pinned(route, version)


def pin_of(headers: Headers) -> str:
    """What the headers of a tester name as who shall answer, for `route_for`: ``X-Skyloom-Version: 7`` or
    ``X-Skyloom-Arm: canary`` (or ``champion``, ``shadow``); empty when they name nobody.

    >>> pin_of({"x-skyloom-arm": "canary"}), pin_of({"x-skyloom-version": "7"}), pin_of({})
    ('@canary', '@7', '')
    """
    named: str = headers.get("x-skyloom-version", "") or headers.get("x-skyloom-arm", "")
    return f"@{named.strip()}" if named else ""


def _pinned(route: LoadedRoute, version: str) -> LoadedRoute:
    """The same route with one version alone. Who pins has not been assigned by the hash, so its receipts say ``pinned``:
    they are no evidence for a rollout. A tester (``@``) may name an arm too, and versions that only shadow."""
    if version.startswith("@"):
        known, names = (*route.arms, *route.shadows), (version[1:],)
    else:
        known, names = route.arms, (version,)
    for each in known:
        if str(each.arm.version) in names or (version.startswith("@") and each.arm.role in names):
            arm = msgspec.structs.replace(each.arm, role="pinned", share=BUCKETS)
            return route._replace(arms=(each._replace(arm=arm),), shares=(BUCKETS,), shadows=())
    serving = ", ".join(f"{each.arm.version} ({each.arm.role})" for each in known)
    raise Problem(404, f"no version {version.removeprefix('@')} of {route.model.name} serves; those that do: {serving}")


def _known(release: LoadedRelease) -> str:
    return ", ".join(sorted(release.routes)) or "none"
