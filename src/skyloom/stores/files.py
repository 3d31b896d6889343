"""Files that are whole or not there: what the stores in folders are made of."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from skyloom.kernel.errors import SkyloomError, Transient
from skyloom.kernel.ids import new_id

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def writable(folder: Path) -> Generator[None]:
    """Turns what the system says about a write in ``folder`` into `Transient`."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> SkyloomError:
    """The error for a write that the system refused: nothing was stored, and it may work in a moment."""
    why = "there is no room left" if error.errno in NO_ROOM else (error.strerror or str(error))
    return Transient(
        f"{folder} cannot be written now: {why}", tried=str(folder), fix="free some space there, then try again"
    )


def private_folder(folder: Path) -> None:
    """Make ``folder`` (and its parents) with mode 0700, and have it survive a crash of the machine."""
    if folder.is_dir():
        return
    private_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def complete_file(folder: Path, content: bytes) -> Generator[Path]:
    """A temporary file in ``folder`` that holds ``content``, on the disk, mode 0600: rename it or link to it.

    It is gone when the block ends. Raises `OSError`.
    """
    path = folder / new_id("partial")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def read_regular(path: Path) -> bytes | None:
    """The bytes of a file that is no link, or ``None`` when nothing is there. Raises `OSError`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read()
