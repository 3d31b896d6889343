"""Objects in a folder: ``objects/ab/cdef...`` by digest, ``pointers/name``, private to the user.

A file appears by a rename when its bytes are on the disk, so that nothing half-written is ever seen. What a killed
process leaves are files in ``partial/``, removed when they are a day old.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from skyloom.kernel.errors import Conflict, DataError, NotFound, UsageError
from skyloom.kernel.ids import digest as digest_of
from skyloom.ports.objects import Objects
from skyloom.stores.files import complete_file, private_folder, read_regular, sync_folder, writable

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME = 240
_DAY_S = 86_400


class FolderObjects:
    """Objects in the folder ``path``, made when it is new.

    >>> import tempfile
    >>> objects = FolderObjects(Path(tempfile.mkdtemp()))
    >>> digest = objects.put(b"model")
    >>> objects.move("release/late", digest.encode(), expect=None)
    >>> objects.get(objects.pointer("release/late").decode())
    b'model'
    """

    def __init__(self, path: Path) -> None:
        self._objects, self._pointers = path / "objects", path / "pointers"
        self._locks, self._partial = path / "locks", path / "partial"
        with writable(path):
            for folder in (self._objects, self._pointers, self._locks, self._partial):
                private_folder(folder)
        self._sweep()

    def _sweep(self) -> None:
        for left in self._partial.iterdir():
            with suppress(FileNotFoundError):  # a writer that works right now finishes its file between two looks
                if left.stat().st_mtime < time.time() - _DAY_S:
                    left.unlink()

    def put(self, content: bytes) -> str:
        """Store bytes; their SHA-256 in hexadecimal."""
        digest = digest_of(content)
        path = self._path(digest)
        with writable(self._objects):
            private_folder(path.parent)
            if not path.exists():
                with complete_file(self._partial, content) as complete:
                    complete.rename(path)
            sync_folder(path.parent)  # also when it was there: its writer may not have come to this yet
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of a digest. Raises `NotFound`, and `DataError` when they are not what was stored."""
        content = _read(self._path(digest))
        if content is None:
            raise NotFound(f"no object {digest} is stored", tried=str(self._path(digest)))
        if digest_of(content) != digest:
            raise DataError(
                f"the bytes of object {digest} have changed since they were stored",
                tried=str(self._path(digest)),
                fix="remove that file and store the object again",
            )
        return content

    def has(self, digest: str) -> bool:
        """Whether an object is stored."""
        return self._path(digest).is_file()

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise DataError(
                f"{digest[:80]!r} is not a digest", fix="give the 64 hexadecimal digits that storing it returned"
            )
        return self._objects / digest[:2] / digest[2:]

    def pointer(self, name: str) -> bytes | None:
        """The bytes that a pointer holds now, or ``None``."""
        return _read(self._pointers / _file_name(name))

    def move(self, name: str, content: bytes, *, expect: bytes | None) -> None:
        """Let a pointer hold ``content``, if it holds ``expect`` now. Raises `Conflict` when it does not."""
        path = self._pointers / _file_name(name)
        with writable(self._pointers), self._locked(path.name):
            if _read(path) != expect:
                raise Conflict(f"{name} was moved by somebody else", tried=str(path), fix="read it again, then decide again")
            with complete_file(self._partial, content) as complete:
                complete.rename(path)
            sync_folder(self._pointers)

    @contextmanager
    def _locked(self, name: str) -> Generator[None]:
        lock = os.open(self._locks / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _file_name(name: str) -> str:
    quoted = quote(name, safe="").replace(".", "%2E")
    if not 0 < len(quoted) <= _LONGEST_NAME:
        raise UsageError(f"a pointer's name has 1 to {_LONGEST_NAME} bytes as it is quoted, not {len(quoted)}")
    return quoted


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise DataError(f"{path} cannot be read: {why}", tried=str(path)) from error


if TYPE_CHECKING:
    _objects: Objects = FolderObjects(Path())
