"""What a supervised process says and does on its own side of the fork."""

import os
import signal
import sys

READY_FD = "SKYLOOM_READY_FD"
PARENT_PID = "SKYLOOM_PARENT_PID"

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tie_to_parent() -> None:
    """Let this process die by SIGKILL when the process that started it dies, however that dies.

    Call it first, from the main thread. Without a parent of ours (`SKYLOOM_PARENT_PID` unset) nothing is tied.
    A parent that died before the tie was made is noticed too: then the process ends at once. Only Linux can do this.
    """
    parent = os.environ.pop(PARENT_PID, None)
    if parent is None or sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if os.getppid() != int(parent):
        os._exit(1)


def notify_ready() -> None:
    """Tell the supervisor that this process does its work from now on. Without a supervisor nobody is told."""
    descriptor = os.environ.pop(READY_FD, None)
    if descriptor is None:
        return
    try:
        os.write(int(descriptor), b"\n")
    finally:
        os.close(int(descriptor))
