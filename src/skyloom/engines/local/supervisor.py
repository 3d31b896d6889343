"""Keeps the processes of a project alive, and ends them together."""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Sequence
from types import FrameType

import msgspec

from skyloom.engines.local.group import first_dead
from skyloom.engines.local.nursery import Nursery
from skyloom.engines.local.process import ChildProcess, ChildSpec
from skyloom.engines.local.restart import QUICK_S, Restarts

GRACE_S = 8.0
READY_WITHIN_S = 60.0

_ENDING = (signal.SIGTERM, signal.SIGINT)


class ChildEvent(msgspec.Struct, frozen=True):
    """What happened to a child: ``kind`` is ``started``, ``ready``, ``died``, ``failing`` or ``stopped``."""

    kind: str
    child: str
    pid: int | None
    detail: str = ""


class _Place:
    """A child's place: its present process, if it lives, and when it is due to be started if it does not."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.restarts = Restarts()
        self.process: ChildProcess | None = None
        self.started = 0.0
        self.due = 0.0
        self.ready = False
        self.late = False

    @property
    def deadline(self) -> float:
        """The moment at which something has to be done about it."""
        if self.process is None:
            return self.due
        return float("inf") if self.ready or self.late else self.started + READY_WITHIN_S


class Supervisor:
    """Starts children, starts again those that die, and ends all of them on SIGTERM or SIGINT: asked to, they have
    ``grace_s`` seconds (8, if that is not given).

    With a ``nursery`` (a program that calls `raise_children`) children that may be are forked from it; without one, or when
    it fails, their commands are run. ``on_event`` hears of everything that happens to a child; ``on_ready`` is called once,
    when every child has said that it is ready. A child that is not ready within a minute of its start is killed and started
    again. Children that call `tie_to_parent` die with the supervisor even when it is killed. To be run by the main thread
    (signals, and the tie).
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        on_event: Callable[[ChildEvent], None] = lambda event: None,
        on_ready: Callable[[], None] = lambda: None,
        *,
        grace_s: float | None = None,
        nursery: ChildSpec | None = None,
    ) -> None:
        self._nursing = nursery if sys.platform == "linux" else None
        self._nursery: Nursery | None = None
        self._grace_s = GRACE_S if grace_s is None else grace_s
        self._places = [_Place(spec) for spec in children]
        self._on_event = on_event
        self._on_ready: Callable[[], None] | None = on_ready
        self._selector = selectors.DefaultSelector()
        self._ending = False

    def run(self) -> int:
        """Supervise until a signal says to end; the exit code, 0."""
        with _signal_bytes() as signals, self._selector:
            self._selector.register(signals, selectors.EVENT_READ)
            try:
                while not self._ending:
                    self._tend_nursery()
                    self._tend()
                    self._wait(signals, min((self._deadline(place) for place in self._places), default=float("inf")))
            finally:
                self._end_all(signals)
        return 0

    def _tend_nursery(self) -> None:
        """Have a nursery, and another one after it, unless it died young."""
        if self._nursing and (self._nursery is None or self._nursery.has_lived):
            self._nursery = Nursery(self._nursing.command, self._nursing.environment)
            self._selector.register(self._nursery.control, selectors.EVENT_READ, self._nursery)

    def _deadline(self, place: _Place) -> float:
        """When something has to be done about a child; one that is to be forked waits for the nursery."""
        waits = place.process is None and place.spec.forked and self._nursery is not None
        return max(place.deadline, self._nursery.deadline) if waits and self._nursery else place.deadline

    def _tend(self) -> None:
        """Whatever is due: starts, and ends of children that never became ready."""
        now = time.monotonic()
        for place in self._places:
            if self._deadline(place) > now:
                continue
            if place.process is None:
                self._start(place)
            else:
                place.late = True
                place.process.kill()

    def _start(self, place: _Place) -> None:
        place.ready, place.late, place.started = False, False, time.monotonic()
        try:
            place.process = ChildProcess(place.spec, self._nursery)
        except OSError as error:
            self._died(place, None, was_ready=False, detail=f"cannot be started: {error}")
            return
        self._selector.register(place.process.ready_fd, selectors.EVENT_READ, place)
        self._tell("started", place, place.process.pid)

    def _wait(self, signals: socket.socket, until: float) -> None:
        """Sleep until something happens or is due."""
        timeout = max(0.0, until - time.monotonic())
        for key, _ in self._selector.select(None if timeout == float("inf") else timeout):
            if key.fileobj is signals:
                self._ending |= any(number in _ENDING for number in signals.recv(4096))
                self._bury_the_dead()
            elif isinstance(key.data, Nursery):
                self._selector.unregister(key.fileobj)
                key.data.hear()
            else:
                self._hear(key.data)

    def _hear(self, place: _Place) -> None:
        process = place.process
        if process is None:
            return
        self._selector.unregister(process.ready_fd)
        if process.said_ready():
            place.ready = True
            self._tell("ready", place, process.pid)
            if self._on_ready and not self._ending and all(other.ready for other in self._places):
                self._on_ready, announce = None, self._on_ready
                announce()

    def _bury_the_dead(self) -> None:
        for place in self._places:
            process = place.process
            if process is None or not process.has_ended():
                continue
            with contextlib.suppress(KeyError):
                self._selector.unregister(process.ready_fd)
            detail = process.bury()
            place.process, was_ready = None, place.ready
            place.ready = False
            if self._ending:
                self._tell("stopped", place, process.pid, detail)
            else:
                self._died(
                    place,
                    process.pid,
                    was_ready=was_ready,
                    detail=f"not ready within {READY_WITHIN_S:.0f} s" if place.late else detail,
                )

        if self._nursery:
            self._reap_orphans(self._nursery)

    def _reap_orphans(self, nursery: Nursery) -> None:
        """Who has a nursery is given whatever its children leave behind, the nursery among them."""
        known = {process.pid for process in self._living()}
        while (dead := first_dead()) and dead not in known:
            if dead == nursery.pid:
                nursery.close()
            else:
                os.waitpid(dead, 0)

    def _died(self, place: _Place, pid: int | None, *, was_ready: bool, detail: str) -> None:
        now = time.monotonic()
        forgiven = place.spec.at_once and was_ready
        place.restarts = place.restarts.after_death(QUICK_S if forgiven else now - place.started)
        place.due = now + place.restarts.delay_s
        self._tell("failing" if place.restarts.failing else "died", place, pid, detail)

    def _end_all(self, signals: socket.socket) -> None:
        self._ending = True
        for process in self._living():
            process.terminate()
        deadline = time.monotonic() + self._grace_s
        while self._living() and time.monotonic() < deadline:
            self._wait(signals, deadline)
        for process in self._living():
            process.kill()
        while self._living():
            self._wait(signals, float("inf"))
        if self._nursery:
            self._nursery.close()

    def _living(self) -> list[ChildProcess]:
        return [place.process for place in self._places if place.process is not None]

    def _tell(self, kind: str, place: _Place, pid: int | None, detail: str = "") -> None:
        self._on_event(ChildEvent(kind, place.spec.name, pid, detail))


@contextlib.contextmanager
def _signal_bytes() -> Generator[socket.socket]:
    """A socket on which every signal of ours arrives as one byte, so that one `select` waits for all there is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        old_fd = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        old = {number: signal.signal(number, _noted) for number in (*_ENDING, signal.SIGCHLD)}
        try:
            yield ours
        finally:
            for number, handler in old.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            signal.set_wakeup_fd(old_fd)


def _noted(number: int, frame: FrameType | None) -> None:
    """The byte on the socket says everything."""
