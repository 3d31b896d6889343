"""An authority for tests: certificates for servers and for clients, in files as operators have them."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def key_pem(self, password: bytes = b"") -> bytes:
        locked = BestAvailableEncryption(password) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)

    def write(self, folder: Path, name: str = "server") -> dict[str, str]:
        """The two files; their paths, as the profile names them."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.pem)
        key.touch(0o600)
        key.write_bytes(self.key_pem())
        return {"certificate": str(certificate), "key": str(key)}


class Authority:
    """Signs what it is asked to."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        built = _builder(self._name, self._name, self._key, DAY, -DAY).add_extension(x509.BasicConstraints(True, None), True)
        others = (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        )
        usage = dict.fromkeys(("digital_signature", *others), False)
        built = built.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), True)
        self.issued = Issued(built.sign(self._key, hashes.SHA256()), self._key)

    def issue(
        self, name: str = "server", lasts: datetime.timedelta = DAY, begins: datetime.timedelta = -DAY, key: Any = None
    ) -> Issued:
        """For a server or a client of this machine."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        built = (
            _builder(_named(name), self._name, key, lasts, begins)
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(x509.SubjectAlternativeName(here), False)
        )
        return Issued(built.sign(self._key, hashes.SHA256()), key)

    def revoke(self, *issued: Issued) -> bytes:
        """A revocation list, PEM."""
        now = datetime.datetime.now(datetime.UTC)
        listed = (
            x509.CertificateRevocationListBuilder().issuer_name(self._name).last_update(now - DAY).next_update(now + DAY)
        )
        for each in issued:
            entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            listed = listed.add_revoked_certificate(entry.revocation_date(now - DAY).build())
        listed = listed.add_extension(x509.CRLNumber(1), False)
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return listed.add_extension(aki, False).sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def trusted(self, client: dict[str, str] | None = None) -> ssl.SSLContext:
        """For a client that trusts this authority, and shows a certificate if it has one."""
        context = ssl.create_default_context(cadata=self.issued.pem.decode())
        if client:
            context.load_cert_chain(client["certificate"], client["key"])
        return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, lasts: Any, begins: Any) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + lasts)
    )
