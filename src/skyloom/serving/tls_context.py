"""What a server speaks TLS with, made of a pair of the moment, and the proof that it can."""

import contextlib
import os
import ssl
from collections.abc import Generator
from typing import NamedTuple

from skyloom.kernel.errors import Transient, UsageError
from skyloom.serving.certificates import Pair

_STEPS = 8
"""A handshake takes fewer turns of both sides."""


class ChangingContext(ssl.SSLContext):
    """Hands each new connection to another context, the ``newest``: one that has shown a certificate cannot forget it, nor
    the authorities that it trusts, nor the sessions that clients may come back to."""

    newest: ssl.SSLContext

    def __new__(cls, newest: ssl.SSLContext) -> "ChangingContext":
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made.newest = newest
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """What loops call for each connection."""
        return self.newest.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def context_of(pair: Pair, protocol: str) -> ssl.SSLContext:
    """A server's context, of TLS 1.2 or newer, that shows this pair and asks clients for theirs where it names an
    authority; ``protocol`` is what it shall speak (ALPN). Raises `ssl.SSLError` for what cannot be served."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    with _held(pair) as files:
        context.load_cert_chain(files.certificate, files.key)
        if files.clients is not None:
            context.load_verify_locations(files.clients)
            context.verify_mode = ssl.CERT_REQUIRED
            context.options |= ssl.OP_NO_TICKET  # a client that comes back shows its certificate again
            context.num_tickets = 0
        for each in files.revoked:
            context.load_verify_locations(each)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context


def prove(pair: Pair) -> None:
    """Shake hands with a client in memory, which looks at what it is shown.

    Raises `UsageError` when the pair cannot be served, and `Transient` when that could not be tried.
    """
    try:
        shown = _shown(context_of(pair, "http/1.1"))
        why = "" if shown == pair.leaf else "a client is shown another certificate"
    except ssl.SSLError as error:
        why = str(error)
    except OSError as error:
        raise Transient(f"the certificate could not be tried: {error}") from error
    if why:
        raise UsageError("the certificate and the key cannot be served", tried=why, fix="make new ones")


def _shown(context: ssl.SSLContext) -> bytes | None:
    """The certificate (DER) that a client gets to see who has checked that the server has its key, if they come to an end.

    With TLS 1.3 it knows before it shows its own, so that it needs none.
    """
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.minimum_version = ssl.TLSVersion.TLSv1_3
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE  # who signed it is for the clients of the server to judge
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(back, there)
    server = context.wrap_bio(there, back, server_side=True)
    for _ in range(_STEPS):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            with contextlib.suppress(ssl.SSLWantReadError):
                server.do_handshake()
        else:
            return client.getpeercert(binary_form=True)
    return None


class _Files(NamedTuple):
    certificate: str
    key: str
    clients: str | None
    revoked: list[str]


@contextlib.contextmanager
def _held(pair: Pair) -> Generator[_Files]:
    """The pair as files that lie in memory alone while the context lasts, for OpenSSL, which reads files."""
    descriptors: list[int] = []

    def hold(content: bytes) -> str:
        descriptor = os.memfd_create("skyloom-tls")
        descriptors.append(descriptor)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        return f"/proc/self/fd/{descriptor}"

    try:
        clients = None if pair.clients is None else hold(pair.clients)
        yield _Files(hold(pair.certificate), hold(pair.key), clients, [hold(each) for each in pair.revoked])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
