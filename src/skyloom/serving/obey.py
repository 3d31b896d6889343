"""Keeps the process on the newest good release: watches the pointer, loads aside, checks, swaps whole."""

import logging
import os
import threading
import time
from collections.abc import Callable

import msgspec

from skyloom.delivery.release import POINTER
from skyloom.kernel.clock import Clock
from skyloom.kernel.errors import Transient
from skyloom.ports import Objects
from skyloom.serving.copy import Copy
from skyloom.serving.loaded import LoadedRelease
from skyloom.serving.loader import Loader, packages_of
from skyloom.serving.metrics import Metrics
from skyloom.serving.standing import Standing, StandingFile

_log = logging.getLogger("skyloom.serving")

EVERY_S = 0.05
AGAIN_S = 2.0
"""How long a release that could not be loaded rests before it is tried again; twice as long each time."""
_LONGEST_S = 300.0
_SAID = 2_000


class Obedience:
    """Holds the release that is obeyed, in ``now``: immutable, replaced whole by one assignment.

    A release that cannot be trusted or loaded (signature, digest, trial, golden rows) is refused, said once, counted, and
    tried again; the one before it serves on. A process that cannot load anything from the store starts from the local copy.
    """

    def __init__(
        self, objects: Objects, loader: Loader, copy: Copy, file: StandingFile, clock: Clock, metrics: Metrics
    ) -> None:
        self._objects, self._loader, self._copy, self._file = objects, loader, copy, file
        self._clock, self._metrics = clock, metrics
        self._standing = Standing(os.getpid(), clock.now_ms())
        self._rest = _Rest()
        self._copy_rest = _Rest()
        self._keep_rest = _Rest()
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
        try:
            pointed = (self._objects.pointer(POINTER) or b"").decode("ascii", "replace")
            self._note(trouble="")
            self._follow(pointed)
        except Exception as error:  # noqa: BLE001  # the edge of this thread: no store may stop the release that serves
            self._trouble(error)
        if self.now is None:
            self._start_from_copy()
        self._tell()

    def _follow(self, release_id: str) -> None:
        if not release_id or (self.now is not None and self.now.digest == release_id):
            if release_id:
                self._confirmed()
            return
        if self._rest.holds(release_id):
            return
        try:
            loaded = self._loader.load(release_id, self._least())
        except Transient:
            self._rest.begin(release_id)
            raise
        except Exception as error:  # noqa: BLE001  # nor may any release
            self._rest.begin(release_id)
            self._refuse(release_id, error)
        else:
            self._rest.end()
            self._swap(loaded)
            self._confirmed()

    def _least(self) -> int:
        """The number of the newest release that was obeyed here."""
        kept = self._copy.kept()
        return max(self.now.release.number if self.now else 0, kept.number if kept else 0)

    def _confirmed(self) -> None:
        """What serves is what the store points at."""
        self._note(refused="", why="", from_copy=False)
        self._keep()

    def _swap(self, loaded: LoadedRelease) -> None:
        self.now = loaded
        self._loader.forget_others(loaded)
        for why in loaded.refused.values():
            _log.error("a model is not served: %s", why)
        self._metrics.release_number.set(loaded.release.number)
        self._note(at_ms=self._clock.now_ms(), number=loaded.release.number, release=loaded.digest, copied=False)

    def _keep(self) -> None:
        """Bring the release that serves into the local copy, unless it is there."""
        if self._standing.copied or self.now is None or self._keep_rest.holds(self.now.digest):
            return
        kept = self._copy.keep(self.now.digest, self.now.release.number, packages_of(self.now.release))
        self._keep_rest.begin(self.now.digest)
        self._note(copied=kept)

    def _start_from_copy(self) -> None:
        kept = self._copy.kept()
        if kept is None or self._copy_rest.holds(kept.release):
            return
        try:
            self._swap(self._loader.load(kept.release, kept.number))
        except Exception as error:  # noqa: BLE001  # a damaged copy is as good as none
            self._copy_rest.begin(kept.release)
            _log.error("the local copy of release %d cannot be used: %s: %s", kept.number, type(error).__name__, error)
        else:
            self._note(from_copy=True, copied=True)
            _log.warning("release %d serves from the local copy", kept.number)

    def _refuse(self, release_id: str, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"[:_SAID]
        if (release_id, why) != (self._standing.refused, self._standing.why):
            self._metrics.release_refused.inc()
            _log.error("a release is refused, %s: %s", self._meanwhile(), why)
        self._note(refused=release_id, why=why)

    def _trouble(self, error: Exception) -> None:
        trouble = f"{type(error).__name__}: {error}"[:_SAID]
        if trouble != self._standing.trouble:
            _log.error("the object store cannot be asked for a release, %s: %s", self._meanwhile(), trouble)
        self._note(trouble=trouble)

    def _meanwhile(self) -> str:
        return f"release {self.now.release.number} serves on" if self.now else "nothing is served"

    def _note(self, **changes: object) -> None:
        self._standing = msgspec.structs.replace(self._standing, **changes)

    def _tell(self) -> None:
        """Let others know: the metrics, and who looks at this machine's processes."""
        now, metrics = self._standing, self._metrics
        metrics.release_refusing.set(bool(now.refused))
        metrics.release_store_up.set(not now.trouble)
        metrics.release_from_copy.set(now.from_copy)
        metrics.release_copied.set(now.copied)
        self._file.tell(now)


class _Rest:
    """How long something that failed is left alone: twice as long after each failure of the same thing."""

    def __init__(self) -> None:
        self._what, self._until, self._length_s = "", 0.0, AGAIN_S

    def holds(self, what: str) -> bool:
        """Whether it is too early to try that again."""
        return what == self._what and time.monotonic() < self._until

    def begin(self, what: str) -> None:
        """It has just failed."""
        self._length_s = min(self._length_s * 2, _LONGEST_S) if what == self._what else AGAIN_S
        self._what, self._until = what, time.monotonic() + self._length_s

    def end(self) -> None:
        """It has not."""
        self._what = ""
