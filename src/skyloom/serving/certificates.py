"""The certificate and the key that a server speaks TLS with, and the authority of its clients: read, and judged."""

import datetime
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from skyloom.kernel.errors import UsageError

_SMALLEST_RSA = 2048
_KINDS = "RSA of 2,048 bits or more, ECDSA on P-256 or P-384, and Ed25519"
_WEEK_S = 7 * 86_400.0
_END = b"-----END X509 CRL-----"


class CertificateFiles(msgspec.Struct, frozen=True):
    """Where they lie (PEM); see `skyloom.spec.address.Tls` for what each is."""

    certificate: Path
    key: Path
    clients: Path | None = None
    revoked: Path | None = None

    @property
    def all(self) -> list[Path]:
        """Those that are named."""
        return [path for path in (self.certificate, self.key, self.clients, self.revoked) if path is not None]


@dataclass(frozen=True)
class Pair:
    """What the files held at one moment. Two of the same bytes are equal; the key is not in its ``repr``."""

    certificate: bytes
    key: bytes
    clients: bytes | None
    revoked: tuple[bytes, ...]
    leaf: bytes
    """The server's own certificate, DER."""
    expires_s: float
    """When it ends, in seconds since 1970."""
    names: tuple[str, ...]
    """The names and addresses that it is for."""
    begins_s: float

    def is_ending(self, now_s: float) -> bool:
        """Whether the last week of the certificate has begun, or the last fifth of its life."""
        return self.expires_s - now_s < min(_WEEK_S, (self.expires_s - self.begins_s) / 5)

    def __repr__(self) -> str:
        return f"Pair({', '.join(self.names)})"


def read_pair(files: CertificateFiles, now_s: float) -> tuple[Pair, list[str]]:
    """What the files hold, and what is to be warned of. Raises `UsageError` for what no server could speak TLS with."""
    chain = _certificates("certificate", files.certificate)
    key = _read("key", files.key)
    leaf = chain[0]
    _check_key(files, chain, key)
    _check_time(files.certificate, leaf, now_s)
    clients = None if files.clients is None else _authority(files.clients)
    revoked = () if files.revoked is None else _revocations(files.revoked)
    pair = Pair(
        certificate=_pem(chain),
        key=key,
        clients=clients,
        revoked=revoked,
        leaf=leaf.public_bytes(Encoding.DER),
        expires_s=leaf.not_valid_after_utc.timestamp(),
        names=_names(leaf),
        begins_s=leaf.not_valid_before_utc.timestamp(),
    )
    return pair, [f"{files.key} can be read by everybody on this machine: chmod 600 {files.key}"] if _open_to_all(
        files.key
    ) else []


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the {what} for TLS cannot be read: {error.strerror}", tried=str(path), fix="mend tls in skyloom.toml"
        ) from error


def _open_to_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False  # it is gone again


def _certificates(what: str, path: Path) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(_read(what, path))
        for each in found:
            _ = each.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion) as error:
        raise UsageError(
            f"the {what} for TLS is no certificate in PEM: {error}",
            tried=str(path),
            fix="give a file with -----BEGIN CERTIFICATE-----",
        ) from error
    return found


def _check_key(files: CertificateFiles, chain: Sequence[x509.Certificate], content: bytes) -> None:
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise UsageError(
            "the key for TLS is encrypted",
            tried=str(files.key),
            fix=f"openssl pkey -in {files.key} -out OPEN.pem, which only the server may read, and name that",
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"the key for TLS is no private key in PEM: {error}",
            tried=str(files.key),
            fix="give a file with -----BEGIN PRIVATE KEY-----",
        ) from error
    known = (
        isinstance(key, Ed25519PrivateKey)
        or (isinstance(key, RSAPrivateKey) and key.key_size >= _SMALLEST_RSA)
        or (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1 | SECP384R1))
    )
    if not known:
        raise UsageError("the key for TLS is of a kind that is not served", tried=str(files.key), fix=f"use {_KINDS}")
    own = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fitting = [_public(each) == own for each in chain]
    if not fitting[0]:
        raise UsageError(
            "the key does not fit the certificate",
            tried=f"{files.certificate}, {files.key}",
            fix="put the server's own certificate first" if any(fitting) else "name the two that were made for each other",
        )


def _public(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""  # of a kind that cannot be read, so it is not the key's


def _check_time(path: Path, leaf: x509.Certificate, now_s: float) -> None:
    now = datetime.datetime.fromtimestamp(now_s, datetime.UTC)
    if now > leaf.not_valid_after_utc:
        raise UsageError(
            f"the certificate for TLS has expired: {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
            tried=str(path),
            fix="renew it",
        )
    if now < leaf.not_valid_before_utc:
        raise UsageError(
            f"the certificate for TLS begins only at {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
            tried=str(path),
            fix="look at this machine's clock, or wait",
        )


def _authority(path: Path) -> bytes:
    certificates = _certificates("authority of the clients", path)
    if not any(_is_authority(each) for each in certificates):
        raise UsageError(
            "the authority of the clients is no authority: its certificate may sign no others",
            tried=str(path),
            fix="give the certificate that signed the clients' (CA: TRUE)",
        )
    return _pem(certificates)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False


def _revocations(path: Path) -> tuple[bytes, ...]:
    content = _read("revocation list", path)
    found = [each + _END + b"\n" for each in content.split(_END)[:-1]]
    try:
        lists = tuple(x509.load_pem_x509_crl(each).public_bytes(Encoding.PEM) for each in found)
    except ValueError:
        lists = ()
    if not lists:
        raise UsageError(
            "the revocation list for TLS is none in PEM", tried=str(path), fix="give a file with -----BEGIN X509 CRL-----"
        )
    return lists


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (
        *found.get_values_for_type(x509.DNSName),
        *(str(each) for each in found.get_values_for_type(x509.IPAddress)),
    )


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
