"""Ed25519 keys in files."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skyloom.kernel.errors import DataError, Refused
from skyloom.stores.keys.local import LocalSigner, LocalVerifier
from skyloom.testing.faults import together


def test_a_signature_is_of_one_key_and_one_content(tmp_path):
    signer, other = LocalSigner(tmp_path / "a" / "k.key"), LocalSigner(tmp_path / "b" / "k.key")
    signature = signer.sign(b"release")
    verifier = LocalVerifier(tmp_path / "a")
    assert verifier.verify(signer.key_id, b"release", signature)
    assert not verifier.verify(signer.key_id, b"releasE", signature)
    assert not verifier.verify(signer.key_id, b"release", other.sign(b"release"))
    assert not verifier.verify(other.key_id, b"release", other.sign(b"release"))
    assert not verifier.verify(signer.key_id, b"release", b"")
    for position in range(64):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert not verifier.verify(signer.key_id, b"release", bytes(changed))


def test_a_key_stays_the_same_and_is_named_by_its_public_bytes(tmp_path):
    signer = LocalSigner(tmp_path / "k.key")
    again = LocalSigner(tmp_path / "k.key")
    assert signer.key_id == again.key_id
    assert signer.sign(b"x") == again.sign(b"x")
    public = bytes.fromhex((tmp_path / f"{signer.key_id}.pub").read_text())
    assert hashlib.sha256(public).hexdigest()[:16] == signer.key_id


def test_the_private_key_is_private_and_refused_when_it_is_not(tmp_path):
    LocalSigner(tmp_path / "k.key")
    assert (tmp_path / "k.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "k.key").chmod(0o640)
    with pytest.raises(Refused, match="may read") as refused:
        LocalSigner(tmp_path / "k.key")
    assert "chmod 600" in refused.value.fix


def test_a_verifier_trusts_old_and_new_keys_and_needs_no_private_one(tmp_path):
    old, new = LocalSigner(tmp_path / "old.key"), LocalSigner(tmp_path / "new.key")
    (tmp_path / "old.key").unlink()
    (tmp_path / "new.key").unlink()
    verifier = LocalVerifier(tmp_path)
    assert all(verifier.verify(key.key_id, b"x", key.sign(b"x")) for key in (old, new))


def test_the_name_of_a_public_file_gives_no_trust(tmp_path):
    signer = LocalSigner(tmp_path / "k.key")
    stranger = Ed25519PrivateKey.generate()
    (tmp_path / f"{signer.key_id}.pub").write_text(stranger.public_key().public_bytes_raw().hex())
    verifier = LocalVerifier(tmp_path)
    assert not verifier.verify(signer.key_id, b"x", stranger.sign(b"x"))
    assert not verifier.verify(signer.key_id, b"x", signer.sign(b"x"))


def test_damaged_keys_are_told(tmp_path):
    signer = LocalSigner(tmp_path / "k.key")
    (tmp_path / f"{signer.key_id}.pub").write_text("no key")
    with pytest.raises(DataError, match="no public key"):
        LocalVerifier(tmp_path)
    (tmp_path / "k.key").write_text("no key")
    with pytest.raises(DataError, match="no private key"):
        LocalSigner(tmp_path / "k.key")


def test_processes_that_start_at_once_agree_on_one_key(tmp_path):
    heard = together(sign_once, [(tmp_path / "keys" / "k.key",)] * 8)
    assert len({key_id for [(key_id, _)] in heard}) == 1
    verifier = LocalVerifier(tmp_path / "keys")
    assert all(verifier.verify(key_id, b"x", signature) for [(key_id, signature)] in heard)
    assert len(list((tmp_path / "keys").iterdir())) == 2


def sign_once(path, report):
    signer = LocalSigner(path)
    report((signer.key_id, signer.sign(b"x")))
