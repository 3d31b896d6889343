"""The process that watches over time: rollouts judged, releases kept in step, retraining begun, served values compared.

``python -m skyloom.runtime.schedule DIRECTORY PROFILE``
"""

import logging
import sys
import time
from pathlib import Path

from skyloom.engines.local import notify_ready, tie_to_parent
from skyloom.kernel.errors import SkyloomError
from skyloom.platform import Platform, open_platform
from skyloom.runtime.control import reconcile
from skyloom.runtime.judging import JUDGE, Judge
from skyloom.runtime.retraining import Retrainer
from skyloom.runtime.signals import Ending
from skyloom.runtime.state import applied
from skyloom.runtime.watched import unwatched

_log = logging.getLogger("skyloom.schedule")

JUDGE_S, RECONCILE_S, COMPARE_S = 0.05, 1.0, 5.0


def schedule(platform: Platform, profile: str) -> None:
    """Watch until SIGTERM or SIGINT."""
    ending, judges, retrainer = Ending(), dict[str, Judge](), Retrainer(platform, profile)
    notify_ready()
    reconciled = compared = time.monotonic()
    while not ending.asked:
        busy = False
        try:
            for name in applied(platform.metadata).project.models:
                busy |= judges.setdefault(name, Judge(platform, name)).look()
            if time.monotonic() - reconciled > RECONCILE_S:
                reconciled = time.monotonic()
                reconcile(platform, actor=JUDGE)
                if platform.profile.retrain:
                    retrainer.look()
            if time.monotonic() - compared > COMPARE_S:
                compared = time.monotonic()
                _compare(platform)
        except SkyloomError as error:
            _log.error("%s", error)
            judges.clear()
        if not busy:
            ending.wait(JUDGE_S)


def _compare(platform: Platform) -> None:
    """One round of the watch; when it cannot be done now, the next one does it, and nothing else waits for it."""
    try:
        if unwatched(platform):
            from skyloom.runtime.consistency import Watch  # brings the kernel: not before there is something to compare

            Watch(platform).look()
    except SkyloomError as error:
        _log.error("served values could not be compared: %s", error)


def main() -> None:
    """Entry point of the process."""
    tie_to_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    schedule(open_platform(Path(sys.argv[1]), sys.argv[2]), sys.argv[2])


if __name__ == "__main__":
    main()
