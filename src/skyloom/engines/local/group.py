"""Process groups: seeing that a leader has ended, and ending all who are left, without hitting a reused number."""

import contextlib
import os
import signal


def has_ended(pid: int) -> bool:
    """Whether a child of ours has ended. It is not reaped, so that its number still names it and its group."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def first_dead() -> int:
    """The number of a child of ours that has ended and was not reaped yet; 0 when there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return found.si_pid if found else 0


def kill_group(leader: int) -> None:
    """SIGKILL to every process of the group of ``leader``, which has not been reaped yet."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
