"""What files a server speaks TLS with, and what it says of others."""

import datetime
import os
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from authority import DAY, Authority, Issued
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from prometheus_client import CollectorRegistry

from skyloom.kernel.errors import DeclarationError, Transient, UsageError
from skyloom.serving.certificate_watch import CertificateWatch
from skyloom.serving.certificates import CertificateFiles, read_pair
from skyloom.serving.tls_context import prove
from skyloom.spec.profile import load_profile

HOUR = datetime.timedelta(hours=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def files_of(folder: Path, issued: Issued, **more: bytes) -> CertificateFiles:
    named = {name: Path(path) for name, path in issued.write(folder).items()}
    for name, content in more.items():
        named[name] = folder / f"{name}.pem"
        named[name].write_bytes(content)
    return CertificateFiles(**named)


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()],
)
def test_what_is_read_can_be_served(tmp_path: Path, authority: Authority, key: Any) -> None:
    issued = authority.issue(key=key)
    files = files_of(tmp_path, issued, clients=authority.issued.pem, revoked=authority.revoke() + authority.revoke(issued))
    pair, warnings = read_pair(files, time.time())
    assert (pair.leaf, pair.names, warnings) == (issued.der, ("localhost", "127.0.0.1"), [])
    assert len(pair.revoked) == 2
    assert pair.expires_s == issued.certificate.not_valid_after_utc.timestamp()
    assert "PRIVATE" not in repr(pair)
    prove(pair)


def test_a_whole_chain_is_kept_in_its_order(tmp_path: Path, authority: Authority) -> None:
    issued = authority.issue()
    files = files_of(tmp_path, issued)
    files.certificate.write_bytes(issued.pem + authority.issued.pem)
    assert read_pair(files, time.time())[0].certificate == issued.pem + authority.issued.pem


def test_a_pair_that_no_client_could_shake_hands_with(tmp_path: Path, authority: Authority) -> None:
    pair, _ = read_pair(files_of(tmp_path, authority.issue()), time.time())
    no_certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    weak = authority.issue(key=rsa.generate_private_key(65537, 1024))
    for broken, said in (
        ({"key": authority.issue().key_pem()}, "KEY_VALUES_MISMATCH"),
        ({"leaf": authority.issue().der}, "another certificate"),
        ({"certificate": weak.pem, "key": weak.key_pem(), "leaf": weak.der}, "EE_KEY_TOO_SMALL"),
        ({"clients": no_certificate}, ""),
        ({"revoked": (no_certificate,)}, ""),
    ):
        with pytest.raises(UsageError, match="cannot be served") as told:
            prove(replace(pair, **broken))
        assert said in told.value.tried
        assert told.value.tried


def test_what_cannot_be_tried_for_want_of_descriptors_is_tried_again(tmp_path: Path, authority: Authority) -> None:
    pair, _ = read_pair(files_of(tmp_path, authority.issue()), time.time())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(Transient, match=r"could not be tried: .*Too many open files"):
            prove(pair)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    prove(pair)


def test_a_key_lies_in_no_file_and_no_descriptor_stays_open(tmp_path: Path, authority: Authority) -> None:
    pair, _ = read_pair(files_of(tmp_path, authority.issue(), clients=authority.issued.pem), time.time())
    before = set(os.listdir("/proc/self/fd"))
    prove(pair)
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("what", "content", "said"),
    [
        ("certificate", b"", "no certificate in PEM"),
        ("certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate in PEM"),
        ("certificate", Authority().issue().pem, "does not fit"),
        ("key", b"nothing", "no private key in PEM"),
        ("key", Authority().issue().key_pem(b"secret"), "encrypted"),
        ("key", Authority().issue().key_pem(), "does not fit"),
        ("clients", b"", "no certificate in PEM"),
        ("clients", Authority().issue().pem, "is no authority"),
        ("revoked", b"", "revocation list"),
        ("revoked", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "revocation list"),
    ],
)
def test_files_that_hold_something_else(tmp_path: Path, authority: Authority, what: str, content: bytes, said: str) -> None:
    files = files_of(tmp_path, authority.issue(), clients=authority.issued.pem, revoked=authority.revoke())
    getattr(files, what).write_bytes(content)
    with pytest.raises(UsageError, match=said) as told:
        read_pair(files, time.time())
    assert str(getattr(files, what)) in told.value.tried
    assert told.value.fix
    getattr(files, what).unlink()
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_pair(files, time.time())


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"begins": -2 * DAY, "lasts": -HOUR}, "has expired"),
        ({"begins": HOUR}, "begins only at"),
        ({"key": ec.generate_private_key(ec.SECP521R1())}, "of a kind that is not served"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "of a kind that is not served"),
    ],
)
def test_pairs_that_no_client_would_take(tmp_path: Path, authority: Authority, how: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_pair(files_of(tmp_path, authority.issue(**how)), time.time())


def test_the_own_certificate_comes_first(tmp_path: Path, authority: Authority) -> None:
    issued = authority.issue()
    files = files_of(tmp_path, issued)
    files.certificate.write_bytes(authority.issued.pem + issued.pem)
    with pytest.raises(UsageError, match="does not fit") as told:
        read_pair(files, time.time())
    assert told.value.fix == "put the server's own certificate first"


def test_a_key_that_everybody_reads_is_warned_of(tmp_path: Path, authority: Authority) -> None:
    files = files_of(tmp_path, authority.issue())
    files.key.chmod(0o644)
    assert read_pair(files, time.time())[1] == [
        f"{files.key} can be read by everybody on this machine: chmod 600 {files.key}"
    ]


class Watched:
    """A watch, and what it has counted."""

    def __init__(self, files: CertificateFiles) -> None:
        self.registry = CollectorRegistry()
        self.watch = CertificateWatch(files, self.registry)

    def settled(self) -> bytes:
        """The certificate that is served once a change has been looked at twice."""
        self.watch.look()
        self.watch.look()
        return self.watch.now.leaf

    def counted(self, outcome: str) -> float:
        return self.registry.get_sample_value("skyloom_certificate_reloads_total", {"outcome": outcome}) or 0.0


def test_a_change_is_taken_when_it_holds_still_and_is_good(tmp_path: Path, authority: Authority) -> None:
    one, two, three = (authority.issue(name) for name in ("one", "two", "three"))
    files = files_of(tmp_path, one)
    watched = Watched(files)
    assert watched.settled() == one.der
    files.certificate.write_bytes(two.pem)
    watched.watch.look()
    files.key.write_bytes(two.key_pem())  # the second half of a change that was under way
    assert watched.watch.look() is None
    assert watched.settled() == two.der
    files.certificate.write_bytes(three.pem)
    assert watched.settled() == two.der
    files.key.write_bytes(b"broken")
    assert watched.settled() == two.der
    files.key.unlink()
    assert watched.settled() == two.der
    assert (watched.counted("loaded"), watched.counted("refused")) == (1, 3)
    files.key.write_bytes(three.key_pem())
    assert watched.settled() == three.der
    files.key.chmod(0o600)
    os.utime(files.certificate)
    assert watched.settled() == three.der
    assert (watched.counted("loaded"), watched.counted("refused")) == (2, 3)
    left = watched.registry.get_sample_value("skyloom_certificate_expires_seconds")
    assert left == pytest.approx(three.certificate.not_valid_after_utc.timestamp() - time.time(), abs=60)


def test_a_secret_of_kubernetes_is_swapped_by_a_link(tmp_path: Path, authority: Authority) -> None:
    one, two = authority.issue("one"), authority.issue("two")
    one.write(tmp_path / "..1")
    two.write(tmp_path / "..2")
    (tmp_path / "..data").symlink_to("..1")
    for name in ("server.pem", "server.key"):
        (tmp_path / name).symlink_to(Path("..data", name))
    watched = Watched(CertificateFiles(tmp_path / "server.pem", tmp_path / "server.key"))
    (tmp_path / "..new").symlink_to("..2")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    assert watched.settled() == two.der
    assert watched.counted("loaded") == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('serving = { address = "0.0.0.0" }', "without TLS"),
        ('serving = { address = "::" }', "without TLS"),
        ('serving = { address = "10.1.2.3" }', "without TLS"),
        ('api = { address = "0.0.0.0" }', "without TLS"),
        ('serving = { address = "here" }', "no IP address"),
        ('serving = { tls = "off" }', "cannot be 'off'"),
        ("serving = { tls = 1 }", "cannot be 1"),
        ('serving = { tls = { certificate = "a" } }', "missing required field `key`"),
        ('serving = { tls = { certificate = "a", kye = "b" } }', "has no key 'kye'"),
        ('serving = { tls = { certificate = "a", key = "b", revoked = "c" } }', "without tls.clients"),
        (
            'serving = { address = "0.0.0.0", trust_platform = true, tls = { certificate = "a", key = "b" } }',
            "would trust whoever connects",
        ),
    ],
)
def test_profiles_that_others_could_listen_to(tmp_path: Path, settings: str, said: str) -> None:
    (tmp_path / "skyloom.toml").write_text(f"[local]\n{settings}\n")
    with pytest.raises(DeclarationError, match=said) as told:
        load_profile(tmp_path)
    assert told.value.fix


@pytest.mark.parametrize(
    "settings",
    [
        'serving = { address = "0.0.0.0", tls = "terminated" }',
        'serving = { address = "0.0.0.0", trust_platform = true }',
        'serving = { address = "::1" }',
        'serving = { address = "0.0.0.0", tls = { certificate = "a", key = "b" } }',
        'serving = { address = "::", trust_platform = true, tls = { certificate = "a", key = "b", clients = "c" } }',
        'api = { address = "10.1.2.3", tls = { certificate = "a", key = "b" } }',
    ],
)
def test_profiles_that_they_could_not(tmp_path: Path, settings: str) -> None:
    (tmp_path / "skyloom.toml").write_text(f"[local]\n{settings}\n")
    assert load_profile(tmp_path)
