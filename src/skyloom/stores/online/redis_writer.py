"""One transaction on its way to Redis: what it writes is kept here until it ends."""

from collections.abc import Iterator, Sequence
from heapq import merge
from operator import itemgetter

from skyloom.ports.online import Pair
from skyloom.stores.online.redis_layout import Layout, ordered
from skyloom.stores.online.redis_view import RedisView, Step

_ALWAYS = -1


class _Change:
    """The last that was written to a key; ``value`` is ``None`` when that was a deletion."""

    __slots__ = ("keep_ms", "value")

    def __init__(self, value: bytes | None, keep_ms: int = _ALWAYS) -> None:
        self.value, self.keep_ms = value, keep_ms


class RedisWriter:
    """Reads through what it wrote. Belongs to one thread."""

    def __init__(self, view: RedisView, layout: Layout) -> None:
        self._view, self._layout = view, layout
        self._spaces: dict[str, dict[bytes, _Change]] = {}

    def get(self, space: str, key: bytes) -> bytes | None:
        """One value, as of this transaction's own writes."""
        change = self._spaces.get(space, {}).get(key)
        return self._view.get(space, key) if change is None else change.value

    def fetch(self, pairs: Sequence[Pair]) -> list[bytes | None]:
        """Many values, as of this transaction's own writes; what it did not write is read in one round trip."""
        changes = [self._spaces.get(space, {}).get(key) for space, key in pairs]
        read = iter(self._view.fetch([pair for pair, change in zip(pairs, changes, strict=True) if change is None]))
        return [next(read) if change is None else change.value for change in changes]

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """`fetch` within one space."""
        return self.fetch([(space, key) for key in keys])

    def scan(self, space: str, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """A space in order of keys, with what was written before the scan began."""
        mine = self._spaces.setdefault(space, {})
        written = sorted(key for key in mine if key.startswith(prefix) and key >= start)
        stored = self._view.scan(space, prefix, start)
        last: bytes | None = None
        for key, value in merge(((key, b"") for key in written), stored, key=itemgetter(0)):
            if key == last:
                continue
            last, change = key, mine.get(key)
            if change is None:
                yield key, value
            elif change.value is not None:
                yield key, change.value

    def put(self, space: str, key: bytes, value: bytes) -> None:
        """Store a value when the transaction ends."""
        self._layout.place(space, key)
        self._spaces.setdefault(space, {})[key] = _Change(value)

    def put_many(self, space: str, pairs: Sequence[tuple[bytes, bytes]], *, keep_ms: int | None = None) -> None:
        """`put` of each pair. ``keep_ms`` is of effect for tiles: what is kept of an entity goes at once."""
        keep = _ALWAYS if keep_ms is None else keep_ms
        mine = self._spaces.setdefault(space, {})
        for key, value in pairs:
            self._layout.place(space, key)
            mine[key] = _Change(value, keep)

    def delete(self, space: str, key: bytes) -> None:
        """Forget a value when the transaction ends."""
        self._layout.place(space, key)
        self._spaces.setdefault(space, {})[key] = _Change(None)

    def steps(self, *, expire: bool) -> list[Step]:
        """All that was written, as steps of a commit: at most two for one key of Redis and its order."""
        puts: dict[tuple[bytes, str], list[bytes]] = {}
        deletes: dict[bytes, list[bytes]] = {}
        orders: list[Step] = []
        for space, changes in self._spaces.items():
            for key, change in changes.items():
                place = self._layout.place(space, key)
                if change.value is None:
                    deletes.setdefault(place.key, []).append(place.field)
                else:
                    kept = str(change.keep_ms) if expire and change.keep_ms != _ALWAYS else ""
                    puts.setdefault((place.key, kept), []).extend((place.field, change.value))
            if ordered(space):
                orders += self._order(space, changes)
        steps: list[Step] = [(key, "HDEL", "", fields) for key, fields in deletes.items()]
        steps += [(key, "HSET", kept, words) for (key, kept), words in puts.items()]
        return steps + orders

    def _order(self, space: str, changes: dict[bytes, _Change]) -> list[Step]:
        name = self._layout.order(space)
        there = [word for key, change in changes.items() if change.value is not None for word in (b"0", key)]
        gone = [key for key, change in changes.items() if change.value is None]
        steps: list[Step] = [(name, "ZADD", "", there), (name, "ZREM", "", gone)]
        return [step for step in steps if step[3]]
