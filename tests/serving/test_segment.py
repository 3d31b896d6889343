"""A segment gives back what was written to it, remembered or found again, and is empty once it is cleared."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.serving.logbook.frames import Frame, frames
from skyloom.serving.logbook.segment import Segment

SIZE = 1 << 20


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segment]:
    segment = Segment.make(tmp_path_factory.mktemp("segment"), 1, SIZE)
    yield segment
    segment.remove()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 60_000), max_size=40), st.booleans(), st.integers(0, 10))
def test_what_was_written_is_there_until_it_is_cleared(segment: Segment, sizes: list[int], few: bool, done: int) -> None:
    written: list[bytes] = []
    for number, size in enumerate([*sizes, *([] if few else [3] * 1_001)]):
        payload = bytes([number % 251]) * size
        if segment.write(b"late", 1, number, payload):
            written.append(payload)
    ends = [each.end for each in segment.waiting()]
    segment.read_from_now_on()
    if done < len(ends):
        segment.done(ends[done])
        written = written[done + 1 :]
    waiting = list(segment.waiting())
    assert [each.payload for each in waiting if isinstance(each, Frame)] == written
    assert waiting == list(frames(segment.found, segment.forwarded, segment.written, segment.seed))
    segment.clear()
    assert segment.path.read_bytes() == bytes(SIZE)
    assert (segment.written, segment.forwarded, list(segment.waiting())) == (0, 0, [])


def test_it_is_cleared_even_where_the_file_takes_no_more(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert segment.write(b"late", 1, 7, b"x" * 700_000)
    once = iter([True])

    def written(handle: int, content: bytes, at: int) -> int:
        if next(once, False):
            return real(handle, content[:1_000], at)
        raise OSError

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", written)
    segment.clear()
    assert segment.path.read_bytes() == bytes(SIZE)
