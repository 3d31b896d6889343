"""Releases as a person looks at them: what was released, and which process of this machine obeys what."""

from itertools import islice
from pathlib import Path

import msgspec

from skyloom.delivery.release import history
from skyloom.kernel.errors import SkyloomError
from skyloom.kernel.records.release import Release
from skyloom.platform import Platform
from skyloom.serving.standing import PROCESSES, Standing, standings


class Released(msgspec.Struct, frozen=True):
    """A release and its id; ``obeyed_by`` are the processes of this machine that obey it."""

    id: str
    release: Release
    obeyed_by: tuple[int, ...]


class Survey(msgspec.Struct, frozen=True):
    """The last releases, the present one first; the serving processes, the oldest first; and what is wrong, in words."""

    releases: tuple[Released, ...]
    processes: tuple[Standing, ...]
    troubles: tuple[str, ...]


def served_folder(platform: Platform) -> Path:
    """Where servers keep the copy of their release, and where they tell how they stand."""
    return platform.state / "served"


def survey(platform: Platform, most: int) -> Survey:
    """The last ``most`` releases, as far back as they can be trusted, and who obeys them."""
    processes = serving_processes(platform)
    found: list[Released] = []
    troubles = [trouble for each in processes for trouble in troubles_of(each)]
    try:
        for id, release in islice(history(platform.objects, platform.verifier), most):
            found.append(Released(id, release, tuple(each.pid for each in processes if each.release == id)))
    except SkyloomError as error:
        troubles.append(str(error))
    return Survey(tuple(found), tuple(processes), tuple(troubles))


def serving_processes(platform: Platform) -> list[Standing]:
    """Where the serving processes of this machine stand, the oldest first."""
    return standings(served_folder(platform) / PROCESSES)


def troubles_of(process: Standing) -> list[str]:
    """What keeps a process from the newest release, in words."""
    serves = f"release {process.number} serves on" if process.release else "nothing is served"
    who = f"server {process.pid}"
    made = [f"{who} refuses release {process.refused[:12]}, {serves}: {process.why}"] if process.refused else []
    return made + ([f"{who} cannot ask the object store, {serves}: {process.trouble}"] if process.trouble else [])
