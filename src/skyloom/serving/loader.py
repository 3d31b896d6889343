"""Brings a release into memory: trusted, its packages tried, checked and timed, everything warm before the first request."""

import contextlib
import time
from typing import NamedTuple

from skyloom.delivery.release import load as load_release
from skyloom.kernel.clock import Clock
from skyloom.kernel.errors import Refused, SkyloomError
from skyloom.kernel.records.release import Release
from skyloom.package import Allowance, LoadedPackage, opened, read, try_out
from skyloom.ports import OnlineStore, Verifier
from skyloom.serving.batch_cost import measure
from skyloom.serving.copy import Copy
from skyloom.serving.loaded import Handled, LoadedRelease, assemble
from skyloom.serving.quarantine import Quarantine

_TIMED = 9


class Around(NamedTuple):
    """What stands around a package: what its trial is allowed, and what names it while it is asked."""

    allowance: Allowance
    quarantine: Quarantine


class Loader:
    """Loads releases. Of one thread at a time."""

    def __init__(self, copy: Copy, verifier: Verifier, online: OnlineStore, clock: Clock, around: Around) -> None:
        self._copy, self._verifier, self._online = copy, verifier, online
        self._clock, self._around = clock, around
        self._packages: dict[str, tuple[LoadedPackage, Handled]] = {}
        self._tried: set[str] = set()

    def load(self, release_id: str, least: int) -> LoadedRelease:
        """A release, ready to answer.

        Raises `Refused` (a signature, its bytes, or a number below ``least``), `PackageError`, `NotFound`, `DataError`, and
        `Transient` when the store cannot be reached.
        """
        release = load_release(self._copy, self._verifier, release_id)
        if release.number < least:
            raise Refused(
                f"release {release.number} is older than release {least}, which was obeyed here",
                tried=f"release {release_id[:12]}: releases count up, also when a version is rolled back",
                fix="after a store was restored from a copy: end the servers, remove .skyloom/served, start them again",
            )
        models = {arm.package: name for name, route in release.routes.items() for arm in route.arms}
        loaded = assemble(
            release_id,
            release,
            self._online,
            lambda digest: self._package(digest, models[digest])[0],
            lambda digest: self._package(digest, models[digest])[1],
        )
        self._warm_up(loaded)
        return loaded

    def forget_others(self, loaded: LoadedRelease) -> None:
        """Let go of every package that ``loaded`` does not name; whoever still answers with one holds it himself."""
        named = packages_of(loaded.release)
        self._packages = {digest: package for digest, package in self._packages.items() if digest in named}

    def _package(self, digest: str, model: str) -> tuple[LoadedPackage, Handled]:
        """A package, loaded, asked its golden rows (which also warms it up) and timed; once, for as long as a release
        names it. What nobody has loaded on this machine yet is tried in another process first."""
        loaded = self._packages.get(digest)
        if loaded is None:
            content = read(self._copy, digest)
            if digest not in self._tried and not self._copy.is_proven(digest):
                try_out(content, self._around.allowance)
            self._tried.add(digest)
            guard = self._around.quarantine.guard(digest, model)
            with guard.loading():
                package = opened(content)
                package.check()
                row_s = _row_s(package)
                loaded = self._packages[digest] = package, Handled(row_s, guard, measure(package, row_s))
        return loaded

    def _warm_up(self, loaded: LoadedRelease) -> None:
        """Read the features of nobody, so that the first request finds everything compiled and open."""
        for route in loaded.routes.values():
            for lookup in route.lookups:
                with contextlib.suppress(SkyloomError):
                    loaded.tables.read([(lookup.table, (None,))])
            if route.wanted:
                with contextlib.suppress(SkyloomError):
                    loaded.features.read([(group, (None,)) for group, _ in route.wanted], self._clock.now_ms())


def packages_of(release: Release) -> frozenset[str]:
    """The digests of all packages that a release names."""
    return frozenset(arm.package for route in release.routes.values() for arm in route.arms)


def _row_s(package: LoadedPackage) -> float:
    """How long a row takes, in seconds of this thread: the median of a few golden ones, so that a machine that is busy
    with something else while a model is loaded is not taken for a slow model."""
    times: list[float] = []
    for row in package.golden.rows[:_TIMED]:
        begun = time.thread_time()
        package.scorer.score_row(row)
        times.append(time.thread_time() - begun)
    return sorted(times)[len(times) // 2] if times else 0.0
