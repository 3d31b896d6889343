"""Where servers of a profile listen, and the certificates that they show there."""

import logging
import time
from ipaddress import ip_address
from pathlib import Path

from skyloom.serving.certificates import CertificateFiles, Pair, read_pair
from skyloom.serving.tls_context import prove
from skyloom.spec.address import Protection, Tls

_log = logging.getLogger("skyloom.up")


def certificate_files(directory: Path, tls: Protection) -> CertificateFiles | None:
    """The files of a profile's ``tls``; relative paths are relative to the project's ``directory``.

    >>> certificate_files(Path("/home/me"), Tls("server.pem", "/run/server.key")).all
    [PosixPath('/home/me/server.pem'), PosixPath('/run/server.key')]
    >>> certificate_files(Path("/home/me"), "terminated")
    """
    if not isinstance(tls, Tls):
        return None
    return CertificateFiles(
        directory / tls.certificate,
        directory / tls.key,
        directory / tls.clients if tls.clients else None,
        directory / tls.revoked if tls.revoked else None,
    )


def proven(directory: Path, tls: Protection) -> Pair | None:
    """What a server will show, before it is begun. Raises `UsageError` for files that no server can speak TLS with."""
    files = certificate_files(directory, tls)
    if files is None:
        return None
    pair, warnings = read_pair(files, time.time())
    prove(pair)
    for warning in warnings:
        _log.warning("%s", warning)
    return pair


def host_and_port(address: str, port: int) -> str:
    """As they stand in an address of the web.

    >>> host_and_port("::1", 8080)
    '[::1]:8080'
    """
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def reached_at(address: str, port: int, pair: Pair | None) -> str:
    """Where a client reaches who listens on ``address``: one that stands for all of a machine's is replaced by the name in
    the certificate, or by this machine's own.

    >>> reached_at("0.0.0.0", 8080, None)
    '127.0.0.1:8080'
    """
    where = ip_address(address)
    if where.is_unspecified:
        named = [name for name in pair.names if "*" not in name] if pair else []
        address = named[0] if named else "127.0.0.1" if where.version == 4 else "::1"
    return host_and_port(address, port)


def url_of(address: str, port: int, pair: Pair | None) -> str:
    """
    >>> url_of("127.0.0.1", 8080, None)
    'http://127.0.0.1:8080'
    """
    return f"{'http' if pair is None else 'https'}://{reached_at(address, port, pair)}"
