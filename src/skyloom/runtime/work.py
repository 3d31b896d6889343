"""The process that does a project's stream work: ``python -m skyloom.runtime.work DIRECTORY PROFILE``."""

import logging
import sys
import time
from contextlib import closing
from pathlib import Path

from skyloom.engines.local import notify_ready, tie_to_parent
from skyloom.kernel.errors import Conflict, Transient
from skyloom.kernel.records.definitions import ProjectDef
from skyloom.platform import Platform, open_platform
from skyloom.runtime.bridges import Bridges
from skyloom.runtime.ownership import answer, owning
from skyloom.runtime.served import worker_project
from skyloom.runtime.signals import Ending
from skyloom.runtime.worker import Worker, require_same_log

_log = logging.getLogger("skyloom.work")

SHORTEST_PAUSE_S, LONGEST_PAUSE_S, AFTER_FAULT_S = 0.003, 0.02, 1.0

MANY = 1_000
"""Rows of one round after which the next follows at once; fewer wait a moment, so that a round is worth its cost."""
LOOK_S = 0.5
"""How often it looks whether other definitions were applied or released, and whether the stores are still its own."""


def work(platform: Platform) -> None:
    """Work until SIGTERM or SIGINT, then bring what waits into the lake. What a store refuses or cannot do now is begun
    again from where the stores stand."""
    ending = Ending()
    while not ending.asked:
        try:
            with owning(platform) as mine:
                if mine:
                    _own(platform, ending)
                else:
                    ending.wait(LONGEST_PAUSE_S)
        except Conflict as error:
            _log.warning("%s", error)
        except Transient as error:
            _log.warning("%s; trying again", error)
            ending.wait(AFTER_FAULT_S)


def _own(platform: Platform, ending: Ending) -> None:
    project = worker_project(platform)
    require_same_log(platform)
    with closing(Bridges(platform, project)) as bridges:
        _work(platform, ending, project, bridges)


def _work(platform: Platform, ending: Ending, project: ProjectDef, bridges: Bridges) -> None:
    worker, asked = Worker(platform, project), None
    notify_ready()
    pause, looked = SHORTEST_PAUSE_S, time.monotonic()
    while not ending.asked:
        busy = bridges.step() + worker.step()
        asked = answer(platform, worker, asked)
        pause = SHORTEST_PAUSE_S if busy else min(pause * 1.3, LONGEST_PAUSE_S)
        if busy < MANY:
            ending.wait(pause)
        if time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            worker.require()
            if worker_project(platform) != project:
                break
    worker.flush()


def main() -> None:
    """Entry point of the process."""
    tie_to_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    work(open_platform(Path(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    main()
