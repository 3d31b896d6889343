"""TLS as clients meet it: who is let in, and certificates that change under load."""

import asyncio
import http.client
import os
import re
import ssl
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from authority import Authority, Issued
from load import Client, Load, request, tell
from serving_world import NOW, Arm, ServerProcess, World, mint, until

rpc: Any = grpc
ROTATIONS = int(os.environ.get("SKYLOOM_ROTATIONS", "20"))
FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}
QUICK = {"look_seconds": 0.05}


class Secured:
    """A server with TLS, an authority that signed its certificate, and another authority that signs its clients'."""

    def __init__(self, folder: Path, *, clients: bool = False, **limits: float) -> None:
        self.folder = folder
        self.authority, self.of_clients = Authority("servers"), Authority("clients")
        self.issued = self.authority.issue()
        tls = self.issued.write(folder / "tls")
        self.revoked = self.of_clients.issue("revoked")
        if clients:
            tls |= {name: str(folder / "tls" / f"{name}.pem") for name in ("clients", "revoked")}
            Path(tls["clients"]).write_bytes(self.of_clients.issued.pem)
            Path(tls["revoked"]).write_bytes(self.of_clients.revoke(self.revoked))
        world = World(folder, windowed=False)
        self.key, stored = mint(["admin"])
        world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
        self.server = ServerProcess(folder, self.key, tls=tls, grpc=True, limits={**QUICK, **limits})

    def ask(self, context: ssl.SSLContext, key: str = "", host: str = "localhost") -> int:
        """The status of a prediction over a new connection."""
        connection = http.client.HTTPSConnection(host, self.server.port, context=context, timeout=20)
        try:
            connection.request("POST", "/predict/late", b"{}", {"Authorization": f"Bearer {key}"} if key else {})
            return connection.getresponse().status
        finally:
            connection.close()

    def shown(self, port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))

    def change(self) -> Issued:
        """Give the server another certificate; it is the one that new connections see when this returns."""
        fresh = self.authority.issue()
        fresh.write(self.folder / "tls")
        until(lambda: self.shown(self.server.port) == fresh.pem.decode())
        return fresh

    def live(self, **shown: bytes) -> bytes:
        """ServerLive over gRPC: field 1, true."""
        credentials = rpc.ssl_channel_credentials(self.authority.issued.pem, **shown)
        with rpc.secure_channel(f"localhost:{self.server.grpc_port}", credentials) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            return call(b"", timeout=20)

    def end(self) -> int:
        code = self.server.end()
        self.server.errors.close()
        return code


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Callable[..., Secured]]:
    """Starts one; it has to end well."""
    made: list[Secured] = []

    def start(**limits: float) -> Secured:
        made.append(Secured(tmp_path, **limits))
        return made[0]

    yield start
    assert made[0].end() == 0


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("secured"))
    yield made
    assert made.end() == 0


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One that asks clients for certificates."""
    made = Secured(tmp_path_factory.mktemp("closed"), clients=True)
    yield made
    assert made.end() == 0


def test_a_client_that_trusts_the_authority_gets_in_and_still_needs_a_key(secured: Secured) -> None:
    trusted = secured.authority.trusted()
    assert secured.ask(trusted) == 401
    assert secured.ask(trusted, "sky_ABCDEF_nothing") == 401
    assert secured.ask(trusted, secured.key) == 400  # an empty body is no flight
    assert secured.live() == b"\x08\x01"


def test_a_client_that_trusts_another_authority_stays_away(secured: Secured) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        secured.ask(Authority().trusted(), secured.key)


def test_words_in_the_clear_are_not_answered(secured: Secured) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", secured.server.port, timeout=20)
    connection.request("GET", "/health/live")
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()
    with rpc.insecure_channel(f"127.0.0.1:{secured.server.grpc_port}") as channel, pytest.raises(rpc.RpcError):
        channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=5)


@pytest.mark.parametrize("where", ["port", "grpc_port"])
@pytest.mark.parametrize(
    ("version", "spoken"), [("TLSv1", ""), ("TLSv1_1", ""), ("TLSv1_2", "TLSv1.2"), ("TLSv1_3", "TLSv1.3")]
)
def test_nothing_older_than_tls_1_2_is_spoken(secured: Secured, where: str, version: str, spoken: str) -> None:
    context = secured.authority.trusted()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the very reason why the server does not speak it
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = getattr(ssl.TLSVersion, version)
    context.set_ciphers("ALL:@SECLEVEL=0")

    async def handshake() -> str:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", getattr(secured.server, where), ssl=context, server_hostname="localhost"
        )
        found = writer.get_extra_info("ssl_object").version()
        writer.transport.abort()
        return found

    if spoken:
        assert asyncio.run(handshake()) == spoken
    else:
        with pytest.raises((ssl.SSLError, ConnectionResetError)) as told:
            asyncio.run(handshake())
        assert isinstance(told.value, ConnectionResetError) or " alert " in str(told.value)  # the server's word, not ours


def test_a_client_with_a_certificate_of_the_authority_gets_in_and_still_needs_a_key(closed: Secured) -> None:
    issued = closed.of_clients.issue("client")
    shown = closed.authority.trusted(issued.write(closed.folder / "client"))
    assert (closed.ask(shown), closed.ask(shown, closed.key)) == (401, 400)
    assert closed.live(private_key=issued.key_pem(), certificate_chain=issued.pem) == b"\x08\x01"


def test_a_client_without_one_or_with_a_revoked_one_is_turned_away(closed: Secured) -> None:
    stranger = closed.authority.issue("client")  # the servers' authority is not the clients'
    for number, issued in enumerate((None, stranger, closed.revoked)):
        context = closed.authority.trusted(issued.write(closed.folder / str(number)) if issued else None)
        with pytest.raises((OSError, http.client.HTTPException)):
            closed.ask(context, closed.key)
        shown = {"private_key": issued.key_pem(), "certificate_chain": issued.pem} if issued else {}
        with pytest.raises(rpc.RpcError) as told:
            closed.live(**shown)
        assert told.value.code() is rpc.StatusCode.UNAVAILABLE


@pytest.mark.timeout(120 + 3 * ROTATIONS)
def test_certificates_change_under_load_and_nothing_fails(secured: Secured) -> None:
    port, context = secured.server.port, secured.authority.trusted()
    kept, fresh = Load(), Load()
    body = request("POST", "/predict/late", secured.key, FLIGHT)
    keeping = Client(port, tls=context)
    channel = rpc.secure_channel(
        f"localhost:{secured.server.grpc_port}", rpc.ssl_channel_credentials(secured.authority.issued.pem)
    )
    live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
    ports: list[int] = []
    called: list[bytes] = []

    async def scenario() -> None:
        done = asyncio.Event()

        async def call() -> None:
            while not done.is_set():
                called.append(await asyncio.to_thread(live, b"", timeout=60))
                await asyncio.sleep(0.01)

        driven = [
            asyncio.create_task(call()),
            asyncio.create_task(kept.drive(keeping, lambda: body, done.is_set)),
            asyncio.create_task(fresh.drive(Client(port, 2, context), lambda: body, done.is_set)),
        ]
        for _ in range(ROTATIONS):
            issued = await asyncio.to_thread(secured.change)
            ports.append(keeping.local)
            over_grpc = await asyncio.to_thread(secured.shown, secured.server.grpc_port)
            assert over_grpc == issued.pem.decode()
            assert await asyncio.to_thread(secured.live) == b"\x08\x01"
        done.set()
        await asyncio.gather(*driven)

    asyncio.run(scenario())
    channel.close()
    tell(
        f"{ROTATIONS} rotations: on a kept connection {kept.statuses}, on new ones {fresh.statuses}, over gRPC {len(called)}"
    )
    assert (kept.failures, fresh.failures, set(called)) == ([], [], {b"\x08\x01"})
    assert set(kept.statuses) == set(fresh.statuses) == {200}
    assert len(set(ports)) == 1  # the connection that was kept is the first one


def test_a_bad_pair_changes_nothing_and_is_told(secured: Secured) -> None:
    before = secured.shown(secured.server.port)
    good = secured.issued.write(secured.folder / "tls")
    Path(good["key"]).write_bytes(Authority().issue().key_pem())
    until(lambda: "the key does not fit the certificate" in secured.server.said())
    assert secured.shown(secured.server.port) == before
    assert secured.shown(secured.server.grpc_port) == before
    loaded, refused = reloads(secured)
    assert secured.change().pem.decode() != before
    assert reloads(secured) == (loaded + 1, refused)
    assert refused >= 1


def reloads(secured: Secured) -> tuple[float, float]:
    """How many changed certificates were loaded, and how many refused."""
    found = dict(re.findall(r'skyloom_certificate_reloads_total\{outcome="(\w+)"\} (\S+)', metrics(secured)))
    return float(found["loaded"]), float(found["refused"])


def metrics(secured: Secured) -> str:
    connection = http.client.HTTPSConnection(
        "localhost", secured.server.port, context=secured.authority.trusted(), timeout=20
    )
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {secured.key}"})
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_connections_with_an_old_certificate_end_between_two_requests(secure: Callable[..., Secured]) -> None:
    secured = secure(linger_seconds=0.1)
    load = Load()
    client = Client(secured.server.port, tls=secured.authority.trusted())
    body = request("POST", "/predict/late", secured.key, FLIGHT)
    issued = [secured.issued]
    shown: list[bytes | None] = []

    async def scenario() -> None:
        done = asyncio.Event()
        driven = asyncio.create_task(load.drive(client, lambda: body, done.is_set))
        await asyncio.to_thread(until, lambda: load.total > 10)
        for _ in range(3):
            used = client.local
            shown.append(client.shown)
            issued.append(await asyncio.to_thread(secured.change))
            await asyncio.to_thread(until, lambda used=used: client.local != used)
        shown.append(client.shown)
        done.set()
        await driven

    asyncio.run(scenario())
    assert load.failures == []
    assert set(load.statuses) == {200}
    assert shown == [each.der for each in issued]  # each of its connections was ended once, after the next change
