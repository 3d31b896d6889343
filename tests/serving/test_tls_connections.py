"""Single connections with TLS: what they agree on, and what becomes of them when certificates change."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from prometheus_client import CollectorRegistry

from skyloom.serving.certificate_watch import CertificateWatch
from skyloom.serving.certificates import CertificateFiles
from skyloom.serving.grpc import server as grpc_server
from skyloom.serving.grpc.calls import Around
from skyloom.serving.grpc.frames import PREFACE
from skyloom.serving.grpc.server import GrpcServer
from skyloom.serving.http import HttpServer, Request
from skyloom.serving.listener import listening
from skyloom.serving.loop import run
from skyloom.serving.services import Listen

PATIENCE_S = 20.0
ASKED = b"GET / HTTP/1.1\r\nhost: me\r\n\r\n"


async def answer(request: Request) -> None:
    request.respond(200, [], request.scheme.encode())


def explain(status: int, why: str) -> tuple[int, list[tuple[str, str]], bytes]:
    return status, [], why.encode()


class Secured:
    """A server in this process, whose clients are asked for certificates if wanted."""

    def __init__(self, folder: Path, *, clients: bool = False) -> None:
        self.folder = folder
        self.authority, self.of_clients = Authority("servers"), Authority("clients")
        self.issued = self.authority.issue()
        named = {name: Path(path) for name, path in self.issued.write(folder).items()}
        self.revoked = folder / "revoked.pem"
        if clients:
            named |= {"clients": folder / "clients.pem", "revoked": self.revoked}
            named["clients"].write_bytes(self.of_clients.issued.pem)
            self.revoked.write_bytes(self.of_clients.revoke())
        self.watch = CertificateWatch(CertificateFiles(**named), CollectorRegistry())
        self.server: HttpServer
        self.port = 0

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        with listening(Listen()) as listener:
            self.port = listener.getsockname()[1]
            self.server = HttpServer(answer, explain, listener, tls=self.watch.context("http/1.1"))
            self.server.goodbye_s = 0.1
            serving = asyncio.create_task(self.server.serve())
            try:
                yield
            except BaseException:
                serving.cancel()  # what failed has left connections open
                raise
            self.server.stop()
            await asyncio.wait_for(serving, PATIENCE_S)

    def change(self) -> None:
        """Look as the server does, until what the files hold now is shown."""
        assert any(self.watch.look() for _ in range(3))
        self.server.leave_behind(0.0)

    async def shake(self, client: ssl.SSLContext, session: Any = None) -> ssl.SSLSocket:
        return await asyncio.to_thread(shaken, self.port, client, session)


def shaken(port: int, client: ssl.SSLContext, session: Any = None) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    try:
        return client.wrap_socket(plain, server_hostname="localhost", session=session)
    except BaseException:
        plain.close()
        raise


def asked(side: ssl.SSLSocket) -> bytes:
    """What is answered to one request."""
    side.sendall(ASKED)
    answered = b""
    while b"\r\n\r\nhttps" not in answered and (more := side.recv(4_096)):
        answered += more
    return answered


@pytest.mark.parametrize("offered", [["http/1.1"], ["h2", "http/1.1"], []])
def test_what_is_spoken_is_agreed_on(tmp_path: Path, offered: list[str]) -> None:
    secured = Secured(tmp_path)
    client = secured.authority.trusted()
    if offered:
        client.set_alpn_protocols(offered)

    async def main() -> None:
        async with secured.served():
            side = await secured.shake(client)
            assert side.selected_alpn_protocol() == ("http/1.1" if offered else None)
            assert (await asyncio.to_thread(asked, side)).endswith(b"https")
            side.close()

    run(main())


def test_what_is_spoken_over_grpc(tmp_path: Path) -> None:
    secured = Secured(tmp_path)
    server, client = secured.watch.context("h2"), secured.authority.trusted()
    client.set_alpn_protocols(["h2"])
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(back, there, server_hostname="localhost"), server.wrap_bio(there, back, server_side=True)]
    for side in sides * 2:
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert [each.selected_alpn_protocol() for each in sides] == ["h2", "h2"]


def test_a_connection_that_nobody_uses_ends_when_its_time_is_over(tmp_path: Path) -> None:
    secured = Secured(tmp_path)

    async def main() -> None:
        async with secured.served():
            used, unused = [await secured.shake(secured.authority.trusted()) for _ in range(2)]
            assert b"connection: close" not in await asyncio.to_thread(asked, used)
            secured.authority.issue().write(secured.folder)
            secured.change()
            fresh = await secured.shake(secured.authority.trusted())
            for each in (used, unused):
                assert await asyncio.to_thread(each.recv, 1) == b""
            assert b"connection: close" not in await asyncio.to_thread(asked, fresh)
            for each in (used, unused, fresh):
                each.close()

    run(main())


class Halfway:
    """A client that has been shown a certificate, and has not answered yet."""

    def __init__(self, client: ssl.SSLContext) -> None:
        self._there, self._back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._side = client.wrap_bio(self._back, self._there, server_hostname="localhost")

    async def begin(self, port: int) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._side.do_handshake()
        self._reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self.writer.write(self._there.read())
        self._back.write(await asyncio.wait_for(self._reader.read(65_536), PATIENCE_S))

    def end(self, content: bytes) -> bytes | None:
        """Finish the handshake and send something; the certificate that was shown."""
        self._side.do_handshake()
        self._side.write(content)
        self.writer.write(self._there.read())
        return self._side.getpeercert(binary_form=True)

    async def until(self, wanted: bytes) -> bytes:
        """What is answered until that comes."""
        answered = b""
        while wanted not in answered:
            self._back.write(await asyncio.wait_for(self._reader.read(65_536), PATIENCE_S))
            with contextlib.suppress(ssl.SSLWantReadError):
                while piece := self._side.read(65_536):
                    answered += piece
        return answered


def test_who_was_shaking_hands_amid_a_change_is_left_behind_too(tmp_path: Path) -> None:
    secured = Secured(tmp_path)

    async def main() -> None:
        async with secured.served():
            halfway = Halfway(secured.authority.trusted())
            await halfway.begin(secured.port)
            secured.authority.issue().write(secured.folder)
            secured.change()
            assert halfway.end(ASKED) == secured.issued.der
            assert b"connection: close" in await halfway.until(b"https")
            halfway.writer.close()

    run(main())


def test_who_was_shaking_hands_over_grpc_is_sent_away_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "_HANDSHAKE_S", 0.5)
    secured = Secured(tmp_path)

    async def main() -> None:
        server = GrpcServer(None, Around(None, None, None), 1_000, repository=False)  # type: ignore[arg-type]
        halfway = Halfway(secured.authority.trusted())
        await halfway.begin(await server.start(Listen(), secured.watch.context("h2")))
        server.renew()
        assert halfway.end(PREFACE + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) == secured.issued.der
        await halfway.until(bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]))  # GOAWAY
        halfway.writer.close()
        await server.stop(0.1)

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_was_revoked_cannot_come_back_to_its_session(tmp_path: Path, version: ssl.TLSVersion) -> None:
    secured = Secured(tmp_path, clients=True)
    issued = secured.of_clients.issue("client")
    client = secured.authority.trusted(issued.write(tmp_path, "client"))
    client.maximum_version = version

    async def main() -> None:
        async with secured.served():
            side = await secured.shake(client)
            assert (await asyncio.to_thread(asked, side)).endswith(b"https")
            again = await secured.shake(client, side.session)  # may go on where it was, as long as it is trusted
            assert (await asyncio.to_thread(asked, again)).endswith(b"https")
            secured.revoked.write_bytes(secured.of_clients.revoke(issued))
            secured.change()

            def comes_back() -> bytes:
                try:
                    with shaken(secured.port, client, side.session) as back:
                        return asked(back)
                except (ssl.SSLError, ConnectionError):
                    return b""

            turned_away = await asyncio.to_thread(comes_back)
            assert turned_away == b""
            for each in (side, again):
                each.close()

    run(main())
