"""The process of one retraining, or of one look at the inputs' drift: what it finds it says in lines of its output.

``python -m skyloom.runtime.retrain_job DIRECTORY PROFILE MODEL train|drift``
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skyloom.engines.local import tie_to_parent
from skyloom.kernel.errors import SkyloomError
from skyloom.platform import Platform, open_platform
from skyloom.ports.compute import Job

ACTOR = "retraining"
TRAIN, DRIFT = "train", "drift"
_MARK = "skyloom retraining: "
_NICE = 10
_LAST_WORDS = 200


class Event(msgspec.Struct, frozen=True):
    """What a step came to: an event of `skyloom.delivery.retrain.report`, or ``drifted`` or ``steady``."""

    event: str
    reason: str = ""
    version: int | None = None


def written(event: Event) -> str:
    """An event as a line; a training function may have written into the line before."""
    return f"\n{_MARK}{msgspec.json.encode(event).decode()}"


def read_event(line: str) -> Event | None:
    """The event of a line, or ``None`` when it is something else that was printed.

    >>> read_event(written(Event("trained", version=2)).strip()), read_event("epoch 1")
    (Event(event='trained', reason='', version=2), None)
    """
    if not line.startswith(_MARK):
        return None
    return msgspec.json.decode(line.removeprefix(_MARK), type=Event)


def look_at_drift(platform: Platform, model: str) -> Iterator[Event]:
    """Whether the inputs of the champion have drifted."""
    from skyloom.runtime.inspection import input_drift

    drifted = [each for each in input_drift(platform, model) if each.drifted]
    told = ", ".join(f"{each.column} {each.aspect} {each.distance:.3f} (limit {each.limit:.3f})" for each in drifted)
    yield Event("drifted" if drifted else "steady", told)


def retrain(platform: Platform, model: str) -> Iterator[Event]:
    """Check the data, train with a search, and let the rollout begin when the gates pass."""
    from skyloom.runtime.inspection import data_faults
    from skyloom.runtime.training import Request, train_model

    faults = data_faults(platform, model)
    if faults:
        yield Event("data_failed", "; ".join(faults))
        return
    yield Event("data_passed")
    try:
        version = train_model(platform, model, Request({}, search=True), actor=ACTOR).version
    except SkyloomError as error:
        yield Event("training_failed", error.what)
        return
    yield Event("trained", version=version.number)
    if version.may_serve:
        yield Event("gates_passed")
    else:
        yield Event("rejected", "; ".join(gate.reason for gate in version.gates if not gate.passed))


class Running:
    """A job, seen from a thread of the process that began it: what it said, and whether it has ended."""

    def __init__(self, platform: Platform, profile: str, model: str, work: str) -> None:
        self.work = work
        self.events: deque[Event] = deque()
        self.last_line = ""
        words = (sys.executable, "-m", "skyloom.runtime.retrain_job", str(platform.directory), profile, model, work)
        self._job = Job(f"{work} {model}", words, directory=str(platform.directory))
        self._compute = platform.compute
        self._thread = threading.Thread(target=self._run, name=self._job.name, daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._compute.run(self._job, self._hear)
        except SkyloomError as error:
            self.last_line = error.what

    def _hear(self, line: str) -> None:
        event = read_event(line)
        if event is not None:
            self.events.append(event)
        elif line.strip():
            self.last_line = line[:_LAST_WORDS]


def main() -> None:
    """Entry point of the process."""
    tie_to_parent()
    os.nice(_NICE)  # whoever serves on this machine goes first
    directory, profile, model, work = sys.argv[1:]
    platform = open_platform(Path(directory), profile)
    for event in {TRAIN: retrain, DRIFT: look_at_drift}[work](platform, model):
        sys.stdout.write(f"{written(event)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
