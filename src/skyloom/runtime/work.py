"""A process that does stream work of a project: ``python -m skyloom.runtime.work DIRECTORY PROFILE [NAME]``."""

import logging
import sys
import time
from contextlib import closing
from pathlib import Path
from platform import node

from skyloom.engines.local import notify_ready, tie_to_parent
from skyloom.features.warm import warm_fold
from skyloom.kernel.errors import Conflict, Transient
from skyloom.kernel.records.definitions import ProjectDef
from skyloom.platform import Platform, open_platform
from skyloom.runtime.bridges import Bridges
from skyloom.runtime.ownership import answer, owning
from skyloom.runtime.served import worker_project
from skyloom.runtime.signals import Ending
from skyloom.runtime.worker import Member, Worker, require_same_log, shards_of, take

_log = logging.getLogger("skyloom.work")

SHORTEST_PAUSE_S, LONGEST_PAUSE_S, AFTER_FAULT_S = 0.003, 0.02, 1.0

MANY = 1_000
"""Rows of one round after which the next follows at once; fewer wait a moment, so that a round is worth its cost."""
LOOK_S = 0.5
"""How often it looks whether other definitions were applied or released, and whether the stores are still its own."""


def work(platform: Platform, name: str = "1") -> None:
    """Work until SIGTERM or SIGINT, then bring what waits into the lake. What a store refuses or cannot do now is begun
    again from where the stores stand. ``name`` is the process's own among those of this machine."""
    ending = Ending()
    while not ending.asked:
        try:
            with owning(platform, shared=True) as mine:
                if mine:
                    _share(platform, f"{node()}/{name}", ending)
                else:
                    ending.wait(LONGEST_PAUSE_S)
        except Conflict as error:
            _log.warning("%s", error)
        except Transient as error:
            _log.warning("%s; trying again", error)
            ending.wait(AFTER_FAULT_S)


def _share(platform: Platform, name: str, ending: Ending) -> None:
    """Work on what is dealt to this process, until definitions change or it is to end."""
    project = worker_project(platform)
    require_same_log(platform)
    warm_fold()  # not while others wait for a sign of life
    member = Member(platform.online, name, shards_of(platform.log, project), platform.profile.stream.patience)
    due = member.due()
    while not ending.asked and worker_project(platform) == project:
        if due:
            due = _own(platform, project, member, due, ending)
        else:
            notify_ready()
            ending.wait(LOOK_S)
            due = member.due()
    if ending.asked:
        member.leave()


def _own(platform: Platform, project: ProjectDef, member: Member, shards: frozenset[int], ending: Ending) -> frozenset[int]:
    """Work on ``shards`` until others are due, which are returned; what is not among them then is given up."""
    worker = Worker(platform, project, take(platform.online, member.name, sorted(shards)))
    with closing(Bridges(platform, project if 0 in shards else ProjectDef(project.name, {}, {}, {}))) as bridges:
        due = _work(platform, project, member, worker, bridges, ending)
    worker.flush()
    worker.release()
    return due


def _work(
    platform: Platform, project: ProjectDef, member: Member, worker: Worker, bridges: Bridges, ending: Ending
) -> frozenset[int]:
    notify_ready()
    pause, asked, due = SHORTEST_PAUSE_S, None, worker.shards
    looked = beaten = time.monotonic()

    def beat() -> None:
        nonlocal beaten
        if time.monotonic() - beaten > LOOK_S:
            beaten = time.monotonic()
            worker.require()
            member.beat()

    while not ending.asked and due == worker.shards:
        busy = bridges.step() + worker.step()
        asked = answer(platform, worker, asked, beat)
        pause = SHORTEST_PAUSE_S if busy else min(pause * 1.3, LONGEST_PAUSE_S)
        if busy < MANY:
            ending.wait(pause)
        if time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            worker.require()
            if worker_project(platform) != project:
                break
            due = member.due(wants_all=worker.wants_all)
    return due


def main() -> None:
    """Entry point of the process."""
    tie_to_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    work(open_platform(Path(sys.argv[1]), sys.argv[2]), *sys.argv[3:])


if __name__ == "__main__":
    main()
