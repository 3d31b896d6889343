"""TLS for servers of asyncio (gRPC), with the certificates of the moment."""

import ssl

from skyloom.serving.certificate_watch import CertificateWatch
from skyloom.serving.certificates import Pair, held


def changing_context(watch: CertificateWatch, protocol: str) -> ssl.SSLContext:
    """Each new connection is given what ``watch`` has at that moment; ``protocol`` is what it shall speak (ALPN).

    A context that has shown one certificate cannot forget it, nor the authorities it trusts. So there is one for each pair,
    and the first one hands every handshake over to the newest.
    """
    pair = watch.now
    newest = first = context_of(pair, protocol)

    def hand_over(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        nonlocal pair, newest
        if pair is not watch.now:
            pair = watch.now
            newest = context_of(pair, protocol)
        connection.context = newest

    first.sni_callback = hand_over
    return first


def context_of(pair: Pair, protocol: str) -> ssl.SSLContext:
    """A server's context, of TLS 1.2 or newer, that shows this pair and asks clients for theirs where it names an
    authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    with held(pair) as (files, _):
        context.load_cert_chain(files.certificate, files.key)
        if files.clients is not None:
            context.load_verify_locations(files.clients)
            context.verify_mode = ssl.CERT_REQUIRED
            context.options |= ssl.OP_NO_TICKET  # who comes back is asked again: it may be revoked meanwhile
            context.num_tickets = 0
        for each in files.revoked:
            context.load_verify_locations(each)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context
