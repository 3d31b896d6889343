"""The other end of a nursery: a process that has imported what others need, and forks them.

A child is forked twice. Who stands between ends at once, so that the child belongs to the supervisor (a *subreaper*, see
prctl(2)): that one waits for it, ties it to its own life, and does not need the nursery for that. To fork is safe as long
as this process has one thread, no store open and nothing random drawn ahead: whoever prepares it imports, and no more.
"""

import ctypes
import fcntl
import gc
import os
import socket
from pathlib import Path

import msgspec

from skyloom.kernel.errors import UsageError

READY = b"ready"
LONGEST = 1 << 18
MOST_DESCRIPTORS = 64
_ARGUMENTS_AT = (
    45  # where the command line begins and ends in memory: fields 48 and 49 of /proc/PID/stat, without the first two
)


class Birth(msgspec.Struct, frozen=True):
    """Who is to be born: the words of its command (``PROGRAM -m MODULE ...``), its whole environment, its directory, and
    the numbers under which it shall have the descriptors that come along."""

    words: tuple[str, ...]
    environment: dict[str, str]
    directory: str | None
    descriptors: tuple[int, ...]


def raise_children(control: socket.socket) -> Birth | None:
    """Fork a child for each `Birth` that comes in; return in every child, as whom it is, and here at the end (``None``).

    Raises `UsageError` when this process has more than one thread: what the others hold would be held for ever in a child.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise UsageError(f"a nursery cannot have {threads} threads", fix="import nothing in it that starts one")
    gc.collect()
    gc.freeze()  # what is shared stays shared: a collection would write to every object
    gc.disable()
    control.sendall(READY)
    while True:
        content, descriptors, *_ = socket.recv_fds(control, LONGEST, MOST_DESCRIPTORS)
        if not content:
            return None
        birth = msgspec.msgpack.decode(content, type=Birth)
        if _forked(control):
            control.close()
            _become(birth, descriptors)
            return birth
        for each in descriptors:
            os.close(each)


def _forked(control: socket.socket) -> bool:
    """Fork a child, and say its number (0 when there could be none). Whether this is the child: it goes on when the
    supervisor is its parent and knows it, and ends with a nursery that ends before."""
    told, tell = os.pipe()
    go, hold = os.pipe()
    between = os.fork()  # fails for all alike when it does: the nursery ends, and the supervisor does without
    if between == 0:
        try:
            child = os.fork()
        except OSError:
            os._exit(1)
        if child:
            os.write(tell, str(child).encode())
            os._exit(0)
        for each in (told, tell, hold):
            os.close(each)
        if not os.read(go, 1):
            os._exit(1)
        os.close(go)
        return True
    os.close(tell)
    os.close(go)
    os.waitpid(between, 0)
    control.sendall(os.read(told, 32) or b"0")
    os.write(hold, b"1")
    os.close(told)
    os.close(hold)
    return False


def _become(birth: Birth, descriptors: list[int]) -> None:
    os.setsid()
    free = max(birth.descriptors, default=0) + 1
    aside = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, free) for each in descriptors]
    for each in descriptors:
        os.close(each)
    for each, number in zip(aside, birth.descriptors, strict=True):
        os.dup2(each, number, inheritable=False)
        os.close(each)
    if birth.directory is not None:
        os.chdir(birth.directory)
    os.environ.clear()
    os.environ.update(birth.environment)
    _entitle(birth.words)
    gc.enable()


def _entitle(words: tuple[str, ...]) -> None:
    """Let `ps` show these words: they are written over the nursery's own, as far as there is room."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = (int(each) for each in fields[_ARGUMENTS_AT : _ARGUMENTS_AT + 2])
    title = b"\0".join(word.encode() for word in words)[: max(end - begin - 1, 0)]
    if begin and title:
        ctypes.memmove(begin, title.ljust(end - begin, b"\0"), end - begin)
