"""What a process can never open again: Landlock, of Linux 5.13 and newer, which needs no rights and cannot be undone.

Numbers from linux/landlock.h. Only the thread that asks is locked in, with all that it starts.
"""

import ctypes
import os
import struct
import sys

_CREATE, _RESTRICT = 444, 446
_ASK_VERSION = 1
_FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""Version of Landlock -> what of files it began to handle: execute, read, list, write, make, remove; link; cut; control."""
_TCP_SINCE, _TCP = 4, 0b11
_SCOPES_SINCE, _SCOPES = 6, 0b11
"""Abstract sockets and signals of processes outside."""


def lock_in() -> bool:
    """From here on this thread opens no file, no folder and no connection of TCP; whether the system can do that.

    What is open stays open. To be called after ``PR_SET_NO_NEW_PRIVS``, by a thread that starts the others.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _ASK_VERSION)
    if version < 1:
        return False
    rules = _rules(version)
    ruleset = libc.syscall(_CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return False
    try:
        return libc.syscall(_RESTRICT, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _rules(version: int) -> bytes:
    """A ``landlock_ruleset_attr`` that handles all that this version can, and so, without a rule, forbids it."""
    files = sum(bits for since, bits in _FILES.items() if since <= version)
    parts = [files]
    if version >= _TCP_SINCE:
        parts.append(_TCP)
    if version >= _SCOPES_SINCE:
        parts.append(_SCOPES)
    return struct.pack(f"<{len(parts)}Q", *parts)
