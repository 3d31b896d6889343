"""Where a server listens, and what keeps its callers' words from others."""

from ipaddress import ip_address
from typing import Literal

import msgspec

from skyloom.kernel.errors import DeclarationError

HERE = "127.0.0.1"
TERMINATED = "terminated"


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files (PEM) that a server speaks TLS with; relative paths are relative to the project's folder.

    ``certificate`` is the server's own, first, and what stands between it and its root; ``key`` is its private key. With
    ``clients``, the certificates of one or more authorities, only clients with a certificate of theirs get a connection;
    ``revoked`` are these authorities' revocation lists.
    """

    certificate: str
    key: str
    clients: str | None = None
    revoked: str | None = None


Protection = Tls | Literal["terminated"] | None
"""TLS of its own; or something in front of it that ends TLS; or none, which is for this machine alone."""


def check_address(where: str, address: str, tls: Protection, *, trust_platform: bool = False) -> None:
    """Raise `DeclarationError` for an address that cannot be, or that others reach without TLS or without a key.

    >>> check_address("serving", "127.0.0.1", None)
    >>> check_address("serving", "0.0.0.0", "terminated")
    >>> check_address("serving", "0.0.0.0", None)
    Traceback (most recent call last):
    ...
    skyloom.kernel.errors.DeclarationError: serving would listen on 0.0.0.0 without TLS: keys would pass in the clear
      next:  give it tls = { certificate = "FILE", key = "FILE" }, or say tls = "terminated" where something in front ends it
    """
    try:
        here = ip_address(address).is_loopback
    except ValueError:
        raise DeclarationError(
            f"{where} cannot listen on {address!r}, which is no IP address",
            fix="give it one of this machine: 127.0.0.1 for callers here, 0.0.0.0 or :: for all",
        ) from None
    if isinstance(tls, Tls) and tls.revoked and not tls.clients:
        raise DeclarationError(f"{where} has tls.revoked without tls.clients", fix="name the authority of the clients too")
    if here:
        return
    if tls is None and not trust_platform:
        raise DeclarationError(
            f"{where} would listen on {address} without TLS: keys would pass in the clear",
            fix='give it tls = { certificate = "FILE", key = "FILE" }, or say tls = "terminated" '
            "where something in front ends it",
        )
    if trust_platform and isinstance(tls, Tls) and not tls.clients:
        raise DeclarationError(
            f"{where} would trust whoever connects to {address}: with TLS of its own no platform is in front",
            fix="give tls.clients, the authority of the platform's certificate, or take trust_platform away",
        )
