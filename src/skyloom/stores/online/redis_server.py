"""A Redis or Valkey server as the online store needs it, and its errors in our words."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

from skyloom.kernel.errors import DataError, DeclarationError, MissingExtra, Transient

SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")
PREFIX = "skyloom"
_DRIVER_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_TIMEOUT_S = 5.0
_PROMPT_S = 0.25
_TRIES = 3


class Address:
    """A server's URL. Of its options, ``prefix`` is ours: what all keys of the store begin with; the others are redis-py's.

    >>> address = Address("valkey://:secret@cache:6379/2?prefix=flights")
    >>> address.url, address.prefix, str(address)
    ('redis://:secret@cache:6379/2', 'flights', 'valkey://cache:6379/2')
    >>> Address("unix:///run/redis.sock?db=3").url
    'unix:///run/redis.sock?db=3'
    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        if scheme not in SCHEMES:
            raise DeclarationError(
                f"{scheme or url!r} is no scheme of Redis", tried=", ".join(SCHEMES), fix="redis://HOST:6379/0"
            )
        place, _, query = rest.partition("?")
        options = dict(parse_qsl(query))
        self.prefix = options.pop("prefix", PREFIX)
        self.url = f"{_DRIVER_SCHEMES.get(scheme, scheme)}://{place}" + (f"?{urlencode(options)}" if options else "")
        self._shown = f"{scheme}://{place.rpartition('@')[2]}"

    def __str__(self) -> str:
        return self._shown

    def client(self, *, alone: bool = False, prompt: bool = False) -> Any:
        """A client; ``alone``: with one connection, that stays; ``prompt``: that waits a quarter of a second, unless the URL
        says otherwise, and tries again only where a kept connection turned out to be closed. Raises `MissingExtra`, and what
        `answering` raises."""
        try:
            import redis
        except ImportError as error:
            raise MissingExtra("redis", "redis") from error
        from redis.backoff import ExponentialBackoff, NoBackoff
        from redis.exceptions import ConnectionError as Closed
        from redis.retry import Retry

        timeout_s = _PROMPT_S if prompt else _TIMEOUT_S
        patient = Retry(ExponentialBackoff(cap=0.2, base=0.01), _TRIES)  # whatever we send may be sent again
        with answering(self):
            return redis.Redis.from_url(
                self.url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                single_connection_client=alone,
                retry=Retry(NoBackoff(), 1, supported_errors=(Closed,)) if prompt else patient,
            )


def check_server(client: Any, address: Address) -> None:
    """Raises `DeclarationError` for a server that would lose single values, or tear a transaction."""
    with answering(address):
        memory, cluster = client.info("memory"), client.info("cluster")
    policy = memory["maxmemory_policy"]
    if memory["maxmemory"] and policy != "noeviction":
        raise DeclarationError(
            f"{address} throws single values away when its memory is full (maxmemory-policy {policy})",
            tried="features that miss some of their events would be served without a sign of it",
            fix="redis-cli CONFIG SET maxmemory-policy noeviction",
        )
    if cluster.get("cluster_enabled"):
        raise DeclarationError(
            f"{address} is a Redis Cluster, in which no transaction spans two slots",
            tried="values and the positions they stand for are written together",
            fix="use one primary, with as many replicas as you like",
        )


@contextmanager
def answering(address: Address) -> Generator[None]:
    """Turns redis-py's errors into ours: `Transient` when the server is away, busy or full, `DeclarationError` when it does
    not let us in, `DataError` for all else."""
    from redis import exceptions

    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise DeclarationError(
            f"{address} does not let us in: {error}",
            tried=str(address),
            fix="give user and password: redis://USER:PASSWORD@HOST",
        ) from error
    except (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.BusyLoadingError,
        exceptions.OutOfMemoryError,
        exceptions.ReadOnlyError,
    ) as error:
        raise Transient(f"{address} does not answer now: {error}", tried=str(address), fix="redis-cli PING") from error
    except exceptions.RedisError as error:
        raise DataError(
            f"{address} cannot be used: {error}", tried=str(address), fix="use an own database or prefix for this store"
        ) from error
