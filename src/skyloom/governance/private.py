"""Secrets in files: a folder that only its owner enters (0700), files that only their owner reads (0600)."""

import contextlib
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path

from skyloom.kernel.errors import NotFound, Refused


def write_private(directory: Path, name: str, secret: bytes) -> Path:
    """Write ``secret`` to ``directory/name``, whole or not at all, and make it last; the file's path.

    The folder is made if need be and closed to others. Raises `Refused` when the folder or the file is a symbolic link,
    or the folder belongs to somebody else.
    """
    with contextlib.suppress(FileExistsError):  # what is there is judged when it is opened
        directory.mkdir(mode=0o700, parents=True)
    with _opened(directory) as folder:
        if stat.S_IMODE(os.fstat(folder).st_mode) != 0o700:
            os.fchmod(folder, 0o700)
        _refuse_link(directory / name, folder)
        temporary = f".{name}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)
    return directory / name


def read_private(directory: Path, name: str) -> bytes:
    """The secret in ``directory/name``.

    Raises `NotFound` when there is none, `Refused` for a symbolic link or a file that others may read or write.
    """
    path = directory / name
    if not directory.exists():
        raise NotFound(f"there is no {path}")
    with _opened(directory) as folder:
        _refuse_link(path, folder)
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            raise NotFound(f"there is no {path}") from None
        with open(descriptor, "rb") as file:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                raise Refused(f"{path} is open to others", fix=f"chmod 600 {path}")
            return file.read()


@contextlib.contextmanager
def _opened(directory: Path) -> Generator[int]:
    """A descriptor of the folder itself: what happens to its path afterwards does not matter."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise Refused(f"{directory} is a file or a symbolic link, not a folder", fix=f"rm {directory}") from None
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise Refused(f"{directory} belongs to somebody else", fix=f"chown -R {os.geteuid()} {directory}")
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_link(path: Path, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise Refused(f"{path} is a symbolic link", fix=f"rm {path}")
