"""Which log the lake and the online store follow: offsets of one log mean nothing in another."""

from skyloom.features.spaces import POSITIONS
from skyloom.kernel.errors import DataError
from skyloom.kernel.ids import new_id
from skyloom.platform import Platform
from skyloom.ports.log import Log, NewBatch
from skyloom.stores.files import complete_file, writable

TOPIC = "identity"
_FILE, _KEY = "log.id", b"log/identity"


def require_same_log(platform: Platform) -> str:
    """The name that this log gave itself when it was first worked on; lake and online store are bound to it.

    Raises `DataError` where one of them followed another log: its positions are offsets of that one, so that events of
    this one would be taken for known.
    """
    name = _named(platform.log, platform.clock.now_ms())
    path = platform.state / _FILE
    _require(name, path.read_text("utf-8") if path.exists() else None, f"the lake in {platform.state}")
    with platform.online.read() as view:
        stored = view.get(POSITIONS, _KEY)
    _require(name, None if stored is None else stored.decode(), "the online store")
    if not path.exists():
        with writable(platform.state), complete_file(platform.state, name.encode()) as made:
            made.replace(path)
    if stored is None:
        with platform.online.write(durable=False) as writer:
            writer.put(POSITIONS, _KEY, name.encode())
    return name


def _named(log: Log, now_ms: int) -> str:
    if not log.read(TOPIC, 0, 1):
        log.append(TOPIC, [NewBatch(1, now_ms, False, new_id("log").encode())])
    return log.read(TOPIC, 0, 1)[0].payload.decode()  # of two that two processes gave, the first one counts


def _require(name: str, known: str | None, what: str) -> None:
    if known not in (None, name):
        raise DataError(
            f"{what} was filled from another log",
            tried=f"its positions are offsets of {known}, and this log is {name}",
            fix="use the profile whose log it followed, or begin in a folder (with a prefix, a database) of its own",
        )
