"""Keeps the process on the newest good release: watches the pointer, loads aside, checks, swaps whole."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from skyloom.delivery.release import POINTER
from skyloom.delivery.release import load as load_release
from skyloom.kernel.clock import Clock
from skyloom.kernel.errors import SkyloomError
from skyloom.package import LoadedPackage, load
from skyloom.ports import Objects, OnlineStore, Verifier
from skyloom.serving.loaded import LoadedRelease, TimedPackage, assemble
from skyloom.serving.metrics import Metrics

_log = logging.getLogger("skyloom.serving")

EVERY_S = 0.05
_TIMED = 9
AGAIN_S = 2.0
"""How long a release that could not be loaded rests before it is tried again."""


class Obedience:
    """Holds the release that is obeyed, in ``now``: immutable, replaced whole by one assignment.

    A release that cannot be trusted or loaded (signature, digest, golden rows) is refused, said once, counted, and tried
    again; the one before it serves on.
    """

    def __init__(self, objects: Objects, verifier: Verifier, online: OnlineStore, clock: Clock, metrics: Metrics) -> None:
        self._objects, self._verifier, self._online = objects, verifier, online
        self._clock, self._metrics = clock, metrics
        self._packages: dict[str, TimedPackage] = {}
        self._complaint = ""
        self._refused: tuple[str, float] = "", 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="obey", daemon=True)
        self.now: LoadedRelease | None = None

    def start(self, on_first: Callable[[], object]) -> None:
        """Begin to watch; ``on_first`` is called (by the watching thread) once there is a release to obey."""
        self._on_first = on_first
        self._thread.start()

    def close(self) -> None:
        """Watch no more; what is loaded stays."""
        self._stop.set()

    def _run(self) -> None:
        told = False
        while not self._stop.is_set():
            self.look()
            if self.now is not None and not told:
                told = True
                self._on_first()
            self._stop.wait(EVERY_S)

    def look(self) -> None:
        """Follow the pointer once."""
        release_id = ""
        try:
            pointed = self._objects.pointer(POINTER)
            release_id = (pointed or b"").decode("ascii", "replace")
            if self._is_settled(release_id):
                return
            release = load_release(self._objects, self._verifier, release_id)
            loaded = assemble(release_id, release, self._online, self._package)
        except Exception as error:  # noqa: BLE001  # the edge of this thread: no release may stop the one that serves
            self._refuse(release_id, error)
        else:
            self._swap(loaded)

    def _is_settled(self, release_id: str) -> bool:
        """Whether there is nothing to do: no release, the one that serves, or one that was refused a moment ago."""
        if not release_id or (self.now is not None and self.now.digest == release_id):
            self._complaint = ""
            return True
        refused, rest_until = self._refused
        return refused == release_id and time.monotonic() < rest_until

    def _swap(self, loaded: LoadedRelease) -> None:
        self._warm_up(loaded)
        self.now, self._complaint = loaded, ""
        self._forget(loaded)
        self._metrics.release_number.set(loaded.release.number)

    def _refuse(self, release_id: str, error: Exception) -> None:
        self._refused = release_id, time.monotonic() + AGAIN_S
        complaint = f"{type(error).__name__}: {error}"
        if complaint != self._complaint:
            self._complaint = complaint
            self._metrics.release_refused.inc()
            kept = f"release {self.now.release.number} serves on" if self.now else "nothing is served"
            _log.error("a release is refused, %s: %s", kept, complaint)

    def _package(self, digest: str) -> TimedPackage:
        """A package, loaded, asked its golden rows (which also warms it up) and timed; once, for as long as a release
        names it."""
        timed = self._packages.get(digest)
        if timed is None:
            package = load(self._objects, digest)
            package.check()
            timed = self._packages[digest] = TimedPackage(package, _row_s(package))
        return timed

    def _warm_up(self, loaded: LoadedRelease) -> None:
        """Read the features of nobody, so that the first request finds everything compiled and open."""
        for route in loaded.routes.values():
            for lookup in route.lookups:
                with contextlib.suppress(SkyloomError):
                    loaded.tables.read([(lookup.table, (None,))])
            if route.wanted:
                with contextlib.suppress(SkyloomError):
                    loaded.features.read([(group, (None,)) for group, _ in route.wanted], self._clock.now_ms())

    def _forget(self, loaded: LoadedRelease) -> None:
        named = {arm.package for route in loaded.release.routes.values() for arm in route.arms}
        self._packages = {digest: package for digest, package in self._packages.items() if digest in named}


def _row_s(package: LoadedPackage) -> float:
    """How long a row takes, in seconds of this thread: the median of a few golden ones, so that a machine that is busy
    with something else while a model is loaded is not taken for a slow model."""
    times: list[float] = []
    for row in package.golden.rows[:_TIMED]:
        begun = time.thread_time()
        package.scorer.score_row(row)
        times.append(time.thread_time() - begun)
    return sorted(times)[len(times) // 2] if times else 0.0
