"""What is committed in a Redis: read by scripts, each of them one moment."""

from collections.abc import Iterator, Sequence
from typing import Any

from skyloom.ports.online import Pair
from skyloom.stores.online.redis_layout import Layout, bounds, by_entity, ordered
from skyloom.stores.online.redis_scripts import FETCH, SCAN
from skyloom.stores.online.redis_server import Address, answering

_PART = 500
"""Keys of one part of a scan."""

Step = tuple[bytes, str, str, list[bytes]]
"""One step of a commit: a key, a command, how long to keep it (ms), and the command's words."""


class RedisView:
    """Reads of one server. Safe for threads."""

    def __init__(self, client: Any, address: Address, layout: Layout) -> None:
        self.client = client
        self._address, self._layout = address, layout
        self._fetch, self._scan = client.register_script(FETCH), client.register_script(SCAN)

    def get(self, space: str, key: bytes) -> bytes | None:
        """One value."""
        place = self._layout.place(space, key)
        with answering(self._address):
            return self.client.hget(place.key, place.field)

    def fetch(self, pairs: Sequence[Pair]) -> list[bytes | None]:
        """The values of many keys, as they are at one moment."""
        places: dict[bytes, list[bytes]] = {}
        ours: list[tuple[bytes, int]] = []
        for space, key in pairs:
            place = self._layout.place(space, key)
            fields = places.setdefault(place.key, [])
            ours.append((place.key, len(fields)))
            fields.append(place.field)
        if not ours:
            return []
        counts = [len(fields) for fields in places.values()]
        with answering(self._address):
            found = self._fetch(list(places), [*counts, *(field for fields in places.values() for field in fields)])
        begins = dict(zip(places, _running(counts), strict=True))
        return [found[begins[key] + index] for key, index in ours]

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """`fetch` within one space."""
        return self.fetch([(space, key) for key in keys])

    def scan(self, space: str, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """A space in order of keys; in parts where it has an order, else read as a whole, sorted, and given out."""
        if ordered(space):
            return self._in_order(space, prefix, start)
        found = self._without_order(space)
        return iter(sorted(item for item in found.items() if item[0].startswith(prefix) and item[0] >= start))

    def _in_order(self, space: str, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        low, high = bounds(prefix, start)
        part = self._entities if by_entity(space) else self._part
        more = True
        while more:
            keys, values = part(space, low, high)
            yield from ((key, value) for key, value in zip(keys, values, strict=True) if value is not None)
            more = len(keys) == _PART
            low = b"(" + keys[-1] if more else b""

    def _part(self, space: str, low: bytes, high: bytes) -> tuple[list[bytes], list[bytes | None]]:
        with answering(self._address):
            keys, values = self._scan([self._layout.order(space), self._layout.values(space)], [low, high, _PART])
        return keys, values

    def _entities(self, space: str, low: bytes, high: bytes) -> tuple[list[bytes], list[bytes | None]]:
        with answering(self._address):
            keys: list[bytes] = self.client.zrangebylex(self._layout.order(space), low, high, 0, _PART)
        return keys, self.get_many(space, keys)  # an entity may be gone by now, or have been forgotten long ago

    def _without_order(self, space: str) -> dict[bytes, bytes]:
        with answering(self._address):
            return dict(self.client.hscan_iter(self._layout.values(space), count=_PART))

    def dropping(self, space: str) -> list[Step]:
        """The steps that forget a space."""
        order: list[Step] = [(self._layout.order(space), "UNLINK", "", [])] if ordered(space) else []
        if not by_entity(space):
            return [(self._layout.values(space), "UNLINK", "", []), *order]
        with answering(self._address):
            entities = self.client.zrange(self._layout.order(space), 0, -1)
        places = [self._layout.place(space, entity) for entity in entities]
        return [*((place.key, "HDEL", "", [place.field]) for place in places), *order]


def _running(counts: Sequence[int]) -> Iterator[int]:
    total = 0
    for count in counts:
        yield total
        total += count
