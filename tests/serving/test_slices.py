"""Slices of threads, as the kernel tells them."""

import ctypes
import os
import platform
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from skyloom.serving.slices import answer_first, work_long

GETATTR = {"x86_64": 315, "aarch64": 275}
LAYOUT = struct.Struct("=IIQiIQQQ")


def slice_ns() -> int:
    """The slice of this thread; 0 where the kernel does not tell."""
    number, found = GETATTR.get(platform.machine()), ctypes.create_string_buffer(56)
    if sys.platform != "linux" or number is None or ctypes.CDLL(None).syscall(number, 0, found, len(found), 0):
        return 0
    return int(LAYOUT.unpack(found.raw[: LAYOUT.size])[5])


def test_who_answers_asks_for_less_at_a_time_than_who_works_long() -> None:
    """In threads of their own, which end; nice, and with it the share of the processor, stays."""
    found: dict[str, tuple[int, int]] = {}

    def note(name: str) -> None:
        found[name] = slice_ns(), os.getpriority(os.PRIO_PROCESS, 0)

    def answering() -> None:
        note("before")
        taken = answer_first()
        note("answering")
        child = threading.Thread(target=note, args=("its thread",))
        child.start()
        child.join()
        with ThreadPoolExecutor(1, initializer=work_long) as executor:
            executor.submit(note, "working").result()
        note("after")
        assert taken is answer_first()

    thread = threading.Thread(target=answering)
    thread.start()
    thread.join()
    slices = {name: each for name, (each, _) in found.items()}
    assert len({nice for _, nice in found.values()}) == 1
    assert slices["its thread"] == slices["answering"] == slices["after"]
    if slices["before"]:  # a kernel that has slices
        assert slices["answering"] < slices["before"] < slices["working"]
