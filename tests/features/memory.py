"""An online store in a dictionary, with the promises of the port."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Spaces = dict[str, dict[bytes, bytes]]


class View:
    """Reads and writes one copy of everything."""

    def __init__(self, spaces: Spaces) -> None:
        self.spaces = spaces

    def get(self, space: str, key: bytes) -> bytes | None:
        return self.spaces.get(space, {}).get(key)

    def get_many(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(space, key) for key in keys]

    def fetch(self, pairs: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        return [self.get(space, key) for space, key in pairs]

    def put(self, space: str, key: bytes, value: bytes) -> None:
        assert 1 <= len(key) <= 511
        self.spaces.setdefault(space, {})[key] = value

    def put_many(self, space: str, pairs: Sequence[tuple[bytes, bytes]], *, keep_ms: int | None = None) -> None:
        for key, value in pairs:
            self.put(space, key, value)

    def delete(self, space: str, key: bytes) -> None:
        self.spaces.get(space, {}).pop(key, None)

    def scan(self, space: str, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for key, value in sorted(self.spaces.get(space, {}).items()):
            if key.startswith(prefix) and key >= start:
                yield key, value


class MemoryOnline:
    """Transactions by copying: what a block wrote is taken over when it ends, and forgotten when it raises."""

    steady = True

    def __init__(self) -> None:
        self.spaces: Spaces = {}

    @contextmanager
    def read(self) -> Iterator[View]:
        yield View(self.spaces)

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[View]:
        view = View({name: dict(space) for name, space in self.spaces.items()})
        yield view
        self.spaces = view.spaces

    def drop(self, space: str) -> None:
        self.spaces.pop(space, None)

    def close(self) -> None:
        self.spaces = {}
