"""The local copy of a release: whole or not there, shared by processes, and only what belongs to it."""

import threading
from pathlib import Path

import msgspec
import pytest

from skyloom.kernel.errors import NotFound, Transient
from skyloom.kernel.ids import digest
from skyloom.kernel.records.registry import Package
from skyloom.serving.copy import Copy


class Store:
    """Objects in a dictionary, which may go away."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.down = False

    def put(self, content: bytes) -> str:
        self.content[digest(content)] = content
        return digest(content)

    def get(self, digest: str) -> bytes:
        if self.down:
            raise Transient("nobody answers")
        if digest not in self.content:
            raise NotFound(digest)
        return self.content[digest]

    def package(self, name: str) -> str:
        files = {"model.onnx": self.put(name.encode() * 100), "card.json": self.put(b"{}")}
        return self.put(msgspec.json.encode(Package("m", "onnx", files, "d", {}, 0.5, name)))


def test_what_is_kept_is_read_without_the_store_and_nothing_else_is_kept(tmp_path: Path) -> None:
    copy = Copy(tmp_path, store := Store())
    first, second = store.package("one"), store.package("two")
    releases = store.put(b"release 1"), store.put(b"release 2")
    assert copy.kept() is None
    assert copy.keep(releases[0], 1, [first])
    assert copy.keep(releases[1], 2, [first, second])
    assert copy.is_proven(second)
    store.down = True
    for name in (releases[1], first, second, digest(b"two" * 100), digest(b"{}")):
        assert digest(copy.get(name)) == name
    with pytest.raises(Transient):
        copy.get(releases[0])
    kept = copy.kept()
    assert kept is not None
    assert (kept.release, kept.number) == (releases[1], 2)
    assert sorted(path.name for path in tmp_path.iterdir() if len(path.name) == 64) == sorted(
        {releases[1], first, second, *(digest(each * 100) for each in (b"one", b"two")), digest(b"{}")}
    )


def test_changed_bytes_are_got_from_the_store_again(tmp_path: Path) -> None:
    copy = Copy(tmp_path, store := Store())
    package, release = store.package("one"), store.put(b"release 1")
    assert copy.keep(release, 1, [package])
    (tmp_path / package).write_bytes(b"something else")
    assert copy.get(package) == store.content[package]
    assert copy.keep(release, 1, [package])
    store.down = True
    assert copy.get(package) == store.content[package]


def test_what_cannot_be_kept_leaves_the_copy_before(tmp_path: Path) -> None:
    copy = Copy(tmp_path, store := Store())
    first = store.package("one"), store.put(b"release 1")
    assert copy.keep(first[1], 1, [first[0]])
    second = store.package("two")
    del store.content[digest(b"two" * 100)]
    assert not copy.keep(store.put(b"release 2"), 2, [second])
    kept = copy.kept()
    assert kept is not None
    assert kept.number == 1
    store.down = True
    assert copy.get(first[0])


def test_processes_that_share_it_end_with_the_newest(tmp_path: Path) -> None:
    """Each holds a lock of its own, as processes do."""
    store = Store()
    packages = [store.package(str(number)) for number in range(12)]
    releases = [store.put(f"release {number}".encode()) for number in range(12)]

    def keep(turns: range) -> None:
        copy = Copy(tmp_path, store)
        kept.extend(copy.keep(releases[number], number, [packages[number]]) for number in turns)

    kept: list[bool] = []
    threads = [threading.Thread(target=keep, args=(range(start, 12),)) for start in (0, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(kept)
    store.down = True
    last = Copy(tmp_path, store)
    found = last.kept()
    assert found is not None
    assert found.number == 11
    assert len(last.get(releases[11]) + last.get(packages[11])) > 0
    assert len(list(tmp_path.iterdir())) == 2 + 4
