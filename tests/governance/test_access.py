import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.governance import SCOPES, Forbidden, Keyring, Unauthenticated, check, mint
from skyloom.kernel.errors import UsageError

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY, STORED = mint(["predict"])
OTHER, OTHER_STORED = mint(["admin"])
RING = Keyring([STORED, OTHER_STORED])


def test_what_is_stored_holds_nothing_of_the_secret():
    body = KEY.removeprefix(f"sky_{STORED.prefix}_")
    assert not any(body[start : start + 6] in repr(STORED) for start in range(len(body) - 5))


def test_a_thousand_keys_are_all_different_and_all_work():
    minted = [mint(["read"]) for _ in range(1000)]
    ring = Keyring([stored for _, stored in minted])
    assert len({key for key, _ in minted}) == 1000
    assert all(ring.check(key, "read") == stored for key, stored in minted)


@pytest.mark.parametrize(("held", "asked"), list(itertools.product(SCOPES, SCOPES)))
def test_a_scope_allows_itself_and_admin_allows_all(held: str, asked: str):
    key, stored = mint([held])
    if held in (asked, "admin"):
        assert check(key, [stored], asked) == stored
    else:
        with pytest.raises(Forbidden, match=f"may not {asked}: its scopes are {held}"):
            check(key, [stored], asked)


@given(st.integers(0, len(KEY) - 1), st.sampled_from(LETTERS + "_- é\0"))
def test_one_wrong_character_never_passes(position: int, character: str):
    typed = KEY[:position] + character + KEY[position + 1 :]
    if typed == KEY:
        return
    with pytest.raises(Unauthenticated, match=r"mistyped|no key of Skyloom"):
        RING.check(typed, "predict")


@given(st.integers(12, len(KEY) - 2))
def test_two_swapped_characters_are_called_mistyped(position: int):
    typed = KEY[:position] + KEY[position + 1] + KEY[position] + KEY[position + 2 :]
    if typed != KEY and position > 12:
        with pytest.raises(Unauthenticated, match="mistyped"):
            RING.check(typed, "predict")


@given(st.text(max_size=80))
def test_any_text_is_refused(text: str):
    with pytest.raises(Unauthenticated):
        RING.check(text, "predict")


ALMOST = [None, "", KEY + "\n", " " + KEY, KEY + KEY, KEY[:-1], KEY.upper()]


@pytest.mark.parametrize("presented", ALMOST, ids=["none", "empty", "line", "space", "twice", "short", "upper"])
def test_almost_a_key_is_refused(presented: str | None):
    with pytest.raises(Unauthenticated):
        RING.check(presented, "predict")


def test_an_unknown_key_is_told_from_a_mistyped_one():
    unknown, _ = mint(["admin"])
    with pytest.raises(Unauthenticated, match="there is no such key"):
        RING.check(unknown, "predict")


def test_a_right_prefix_does_not_let_another_secret_in():
    stranger, theirs = mint(["admin"])
    impostor = type(theirs)(theirs.prefix, STORED.sha256, theirs.scopes)
    with pytest.raises(Unauthenticated, match="there is no such key"):
        check(stranger, [impostor], "admin")


def test_a_key_that_was_right_once_is_still_held_to_its_scopes():
    ring = Keyring([STORED])
    assert ring.check(KEY, "predict") is STORED
    with pytest.raises(Forbidden):
        ring.check(KEY, "ingest")


def test_scopes_are_checked_when_a_key_is_made():
    with pytest.raises(UsageError, match="a key needs a scope"):
        mint([])
    with pytest.raises(UsageError, match="no scope 'predct'") as error:
        mint(["predct"])
    assert error.value.fix == "one of predict, read"
