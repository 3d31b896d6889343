"""This machine's own copy of the release that was obeyed last: what a server starts from when nothing else can be reached.

In a folder: files named by the digest of their bytes, and ``release.json``, which says what they belong to. It holds only
what was loaded and answered its golden rows here. Keys that signatures are checked with are never read from it.
"""

import fcntl
import logging
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from skyloom.kernel.errors import DataError
from skyloom.kernel.ids import digest as digest_of
from skyloom.kernel.ids import new_id
from skyloom.kernel.records.registry import Package
from skyloom.package.machine import machine
from skyloom.package.store import NEEDED
from skyloom.ports import ObjectReader

_log = logging.getLogger("skyloom.serving")

COPY = "copy"
_NAME = "release.json"
_LOCK = "lock"
_PARTIAL = "partial"


class Kept(msgspec.Struct, frozen=True):
    """The release that is kept: its id, its number, the packages that answered their golden rows, and on what machine."""

    release: str
    number: int
    packages: tuple[str, ...]
    machine: str


class Copy:
    """Reads objects from the copy where it has them, else from ``objects``; several processes may share the folder.

    A disk without room costs the copy, never a release: what could not be kept is said, and `keep` answers ``False``.
    """

    def __init__(self, folder: Path, objects: ObjectReader) -> None:
        self._folder, self._objects = folder, objects
        self._said = ""

    def get(self, digest: str) -> bytes:
        """The bytes of a digest. Raises as `ObjectReader` does when they must come from the store."""
        return self._own(digest) or self._objects.get(digest)

    def _own(self, digest: str) -> bytes | None:
        """The copy's own bytes; what has changed on the disk is as good as not there."""
        with suppress(OSError, ValueError):
            content = (self._folder / digest).read_bytes() if len(digest) == 64 and digest.isalnum() else b""
            if digest_of(content) == digest:
                return content
        return None

    def kept(self) -> Kept | None:
        """What is kept, or ``None``."""
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode((self._folder / _NAME).read_bytes(), type=Kept)
        return None

    def is_proven(self, package: str) -> bool:
        """Whether a package was loaded by a process on this machine, by the same libraries, and answered as it should."""
        kept = self.kept()
        return kept is not None and package in kept.packages and kept.machine == machine()

    def keep(self, release: str, number: int, packages: Iterable[str]) -> bool:
        """Keep a release, its packages and their files, and nothing else; whether it (or a newer one) is kept now."""
        named = tuple(sorted(set(packages)))
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                kept = self.kept()
                if kept is None or kept.number <= number:
                    self._keep(Kept(release, number, named, machine()), kept)
        except Exception as error:  # noqa: BLE001  # the copy is for bad days: its own must not make one
            self._say(f"{type(error).__name__}: {error}")
            return False
        self._said = ""
        return True

    def _keep(self, wanted: Kept, kept: Kept | None) -> None:
        digests = {wanted.release, *wanted.packages}
        for package in wanted.packages:
            digests |= set(_files_of(self.get(package)))
        for digest in sorted(digests):
            if self._own(digest) is None:
                self._place(digest, self._objects.get(digest))
        if wanted != kept:
            self._place(_NAME, msgspec.json.encode(wanted))
        for path in self._folder.iterdir():
            if path.name not in digests and path.name not in (_NAME, _LOCK):
                path.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """One process at a time."""
        lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _place(self, name: str, content: bytes) -> None:
        """A file that is whole or not there, also after a crash of the machine."""
        partial = self._folder / new_id(_PARTIAL)
        try:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self._folder / name)
        finally:
            partial.unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _say(self, why: str) -> None:
        if why != self._said:
            self._said = why
            _log.error("the release could not be copied: without the object store no server will start with it (%s)", why)


def _files_of(manifest: bytes) -> list[str]:
    """The files that a package is loaded from."""
    try:
        return [digest for name, digest in msgspec.json.decode(manifest, type=Package).files.items() if name in NEEDED]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError("a package's manifest cannot be read") from error
