import pytest

from skyloom.governance import Keyring, Unauthenticated, active_keys, create_key, list_keys, revoke_key
from skyloom.kernel.errors import NotFound, UsageError


def test_a_created_key_works_until_it_is_revoked(metadata):
    key, record = create_key(metadata, ["predict"], actor="ann", now_ms=5)
    assert Keyring(active_keys(metadata)).check(key, "predict") == record.digest
    revoked = revoke_key(metadata, f"sky_{record.digest.prefix}", actor="ben", now_ms=9)
    assert (revoked.created_by, revoked.created_ms, revoked.revoked_ms) == ("ann", 5, 9)
    assert list_keys(metadata) == [revoked]
    with pytest.raises(Unauthenticated):
        Keyring(active_keys(metadata)).check(key, "predict")


def test_creating_and_revoking_are_on_the_record_once(metadata):
    _, record = create_key(metadata, ["read"], actor="ann", now_ms=5)
    revoke_key(metadata, record.digest.prefix, actor="ben", now_ms=9)
    again = revoke_key(metadata, record.digest.prefix, actor="eve", now_ms=11)
    assert again.revoked_ms == 9
    assert [(line.actor, line.action) for line in metadata.changes("key")] == [("ann", "create key"), ("ben", "revoke key")]


def test_the_secret_is_stored_nowhere(metadata):
    key, record = create_key(metadata, ["admin"], actor="ann", now_ms=5)
    secret = key.removeprefix(f"sky_{record.digest.prefix}_").encode()
    assert not any(secret in document.body for document in metadata.list("key"))
    assert not any(secret in (line.body or b"") for line in metadata.changes())


def test_a_bad_scope_stores_nothing(metadata):
    with pytest.raises(UsageError):
        create_key(metadata, ["root"], actor="ann", now_ms=5)
    assert not metadata.changes()


def test_an_unknown_key_cannot_be_revoked(metadata):
    _, record = create_key(metadata, ["admin"], actor="ann", now_ms=5)
    prefix = record.digest.prefix
    with pytest.raises(NotFound, match="there is no key") as error:
        revoke_key(metadata, prefix[:-1], actor="ann", now_ms=6)
    assert error.value.tried == f"nearest: {prefix}"


def test_keys_are_listed_oldest_first(metadata):
    for moment in [7, 3, 9, 3, 1]:
        create_key(metadata, ["read"], actor="ann", now_ms=moment)
    assert [record.created_ms for record in list_keys(metadata)] == [1, 3, 3, 7, 9]
