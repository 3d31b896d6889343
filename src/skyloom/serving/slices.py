"""Who is let on the processor first when all of them are busy: threads that answer, before those that score for long.

The kernel's scheduler (EEVDF, Linux 6.12 or later) lets a thread choose its slice: how long it may run at a time. All have
the same share, yet who asks for less at a time is let on sooner after a wait (`sched_setattr(2)`, `sched_runtime` of a
thread without a real-time policy). Where the kernel knows none of this nothing changes.
"""

import ctypes
import os
import platform
import struct
import sys

_SYSCALLS = {"x86_64": 314, "aarch64": 274}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, runtime, deadline, period
_SHORT_NS, _LONG_NS = 200_000, 3_000_000


def answer_first() -> bool:
    """Let this thread, and those that it starts, run for short and often: it answers others. Whether the kernel took it."""
    return _choose(_SHORT_NS)


def work_long() -> bool:
    """Let this thread run for long and seldom: it works on what takes its time. Whether the kernel took it."""
    return _choose(_LONG_NS)


def _choose(slice_ns: int) -> bool:
    number = _SYSCALLS.get(platform.machine())
    if sys.platform != "linux" or number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, slice_ns, 0, 0)
    return ctypes.CDLL(None).syscall(number, 0, ctypes.create_string_buffer(wanted, len(wanted)), 0) == 0
