"""The one place where a profile becomes adapters."""

from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from skyloom.kernel.clock import Clock, DataClock, SystemClock
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.locations import resolved_url
from skyloom.ports.compute import Compute
from skyloom.ports.keys import Signer, Verifier
from skyloom.ports.lake import Lake
from skyloom.ports.log import Log
from skyloom.ports.metadata import Metadata
from skyloom.ports.objects import Objects
from skyloom.ports.online import OnlineStore
from skyloom.spec.profile import LOCAL, Profile, load_profile

STATE = ".skyloom"
_STORES: dict[str, tuple[str, ...]] = {
    "metadata": (),
    "objects": (),
    "lake": (),
    "online": ("redis", "rediss", "unix", "valkey", "valkeys"),
    "log": ("kafka",),
}
"""The stores, each with the schemes of the URLs that it has an adapter for beside the embedded one."""


class Platform:
    """A project's directory and profile, with every port behind its adapter, connected when it is first used."""

    def __init__(self, directory: Path, profile: Profile) -> None:
        self.directory = directory
        self.profile = profile
        self.state = directory / STATE
        self.private = self.state / "private"

    @cached_property
    def clock(self) -> Clock:
        return DataClock(self.state / "clock") if self.profile.clock == "data" else SystemClock()

    @cached_property
    def metadata(self) -> Metadata:
        from skyloom.stores.metadata.sqlite import SqliteMetadata

        return SqliteMetadata(self.state / "metadata.db", self.clock)

    @cached_property
    def objects(self) -> Objects:
        from skyloom.stores.objects.folder import FolderObjects

        return FolderObjects(self.state / "objects")

    @cached_property
    def lake(self) -> Lake:
        from skyloom.stores.lake.delta import DeltaLake

        return DeltaLake(self.state / "lake")

    @cached_property
    def log(self) -> Log:
        if self.profile.log is not None:
            from skyloom.stores.log.kafka import KafkaLog
            from skyloom.stores.log.kafka_settings import kafka_settings

            return KafkaLog(kafka_settings(self.profile.log), self.profile.partitions)
        from skyloom.stores.log.lmdb import LmdbLog

        return LmdbLog(self.state / "log", self.profile.partitions)

    @cached_property
    def online(self) -> OnlineStore:
        if self.profile.online is not None:
            from skyloom.stores.online.redis import RedisOnline

            return RedisOnline(resolved_url(self.profile.online), expire=self.profile.clock == "system")
        from skyloom.stores.online.lmdb import LmdbOnline

        return LmdbOnline(self.state / "online")

    @cached_property
    def prompt_online(self) -> OnlineStore:
        """The online store for who answers others meanwhile: it fails soon, and at once while it is known not to answer."""
        if self.profile.online is None:
            return self.online
        from skyloom.stores.online.prompt import PromptOnline
        from skyloom.stores.online.redis import RedisOnline

        return PromptOnline(RedisOnline(resolved_url(self.profile.online), prompt=True))

    @cached_property
    def signer(self) -> Signer:
        from skyloom.stores.keys.local import LocalSigner

        return LocalSigner(self.private / "release.key")

    @cached_property
    def verifier(self) -> Verifier:
        from skyloom.stores.keys.local import LocalVerifier

        return LocalVerifier(self.private)

    @cached_property
    def compute(self) -> Compute:
        from skyloom.engines.local import SubprocessCompute

        return SubprocessCompute()


def open_platform(directory: Path | None = None, profile: str = LOCAL) -> Platform:
    """The platform of the project in ``directory`` (the present one by default) under a profile of ``skyloom.toml``.

    Nothing is connected yet. Raises `DeclarationError` for a profile that is not there or names a store without adapter.

    >>> open_platform(Path("/nowhere")).private
    PosixPath('/nowhere/.skyloom/private')
    """
    where = (directory or Path.cwd()).resolve()
    settings = load_profile(where, profile)
    for store, schemes in _STORES.items():
        url = getattr(settings, store)
        if url is not None and urlsplit(url).scheme not in schemes:
            raise DeclarationError(
                f"profile {profile!r}: no adapter for {store} = {url!r}",
                tried=", ".join(f"{scheme}://" for scheme in schemes) or "the embedded adapter, which is the one there is",
                fix=f"remove {store} from [{profile}] in skyloom.toml",
            )
    return Platform(where, settings)
