"""Releases as a person looks at them: what was released, and which process of this machine obeys what."""

from itertools import islice
from pathlib import Path

import msgspec

from skyloom.delivery.release import history
from skyloom.kernel.records.release import Release
from skyloom.platform import Platform
from skyloom.serving.standing import PROCESSES, Standing, standings


class Released(msgspec.Struct, frozen=True):
    """A release and its id; ``obeyed_by`` are the processes of this machine that obey it."""

    id: str
    release: Release
    obeyed_by: tuple[int, ...]


def served_folder(platform: Platform) -> Path:
    """Where servers keep the copy of their release, and where they tell how they stand."""
    return platform.state / "served"


def releases(platform: Platform, most: int) -> list[Released]:
    """The last releases, the present one first. Raises `Refused` for one that is not signed by a trusted key."""
    processes = serving_processes(platform)
    return [
        Released(id, release, tuple(each.pid for each in processes if each.release == id))
        for id, release in islice(history(platform.objects, platform.verifier), most)
    ]


def serving_processes(platform: Platform) -> list[Standing]:
    """Where the serving processes of this machine stand, the oldest first."""
    return standings(served_folder(platform) / PROCESSES)
