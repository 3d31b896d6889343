"""JSON bodies, decoded."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.serving.body import decode
from skyloom.serving.wire import Problem

PIECES = st.sampled_from(["\\", "u", "d83d", "dc00", "\ud83d", "\udc00", "😀", "D800", "\\ud800", "\\\\", chr(34), "a"])


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=6).map("".join))
def test_a_text_is_decoded_or_refused_as_it_can_be_written_or_not(text: str) -> None:
    body = json.dumps({text: text}).encode()
    whole = json.loads(body)
    try:
        json.dumps(whole, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(Problem):
            decode(body)
    else:
        assert decode(body) == whole


@pytest.mark.parametrize("body", [b'"\\uD83D"', b'"\\udc00\\ud83d"', b'["\\ud83d","\\udc00"]', b'"\\ud83dx\\udc00"'])
def test_half_a_pair_is_refused(body: bytes) -> None:
    with pytest.raises(Problem):
        decode(body)
