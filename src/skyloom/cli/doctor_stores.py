"""Whether the log and the online store of a profile can be reached, and what starts them where they cannot."""

from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

import msgspec

from skyloom.kernel.errors import SkyloomError, Transient
from skyloom.kernel.locations import resolved_url
from skyloom.spec.profile import Profile

_PATIENCE_S = 3.0
_HERE = ("localhost", "127.0.0.1")


class Reached(msgspec.Struct, frozen=True):
    """What one try found: ``trouble`` is empty where the store answered."""

    store: str
    place: str
    trouble: str = ""
    fix: str = ""


def reach(profile: Profile) -> list[Reached]:
    """A try for every store of a profile that is not embedded."""
    tries = [("online", profile.online, _online, _start_redis), ("log", profile.log, _log, _start_kafka)]
    return [_reached(store, url, ask, start) for store, url, ask, start in tries if url is not None]


def _reached(store: str, url: str, ask: Callable[[str], None], start: Callable[[str], str]) -> Reached:
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    try:
        ask(url)
    except SkyloomError as error:
        host, _, port = parts.netloc.rpartition("@")[2].partition(",")[0].partition(":")
        away = isinstance(error, Transient) and host in _HERE
        return Reached(store, place, error.what, start(port) if away else error.fix)
    return Reached(store, place)


def _online(url: str) -> None:
    from skyloom.features.spaces import POSITIONS
    from skyloom.stores.online.redis import RedisOnline

    with closing(RedisOnline(resolved_url(url))) as store, store.read() as view:
        view.get(POSITIONS, b"doctor")


def _log(url: str) -> None:
    from skyloom.stores.log.kafka import KafkaLog
    from skyloom.stores.log.kafka_settings import kafka_settings

    with closing(KafkaLog(kafka_settings(url)._replace(patience_s=_PATIENCE_S))) as log:
        log.end("identity")


def _start_redis(port: str) -> str:
    return f"redis-server --port {port or '6379'} --maxmemory-policy noeviction"


def _start_kafka(port: str) -> str:
    return f"docker run -d -p {port or '9092'}:9092 apache/kafka, or the brokers that you have"
