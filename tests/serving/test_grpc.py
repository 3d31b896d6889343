"""The Open Inference Protocol over gRPC: what clients seldom send, what they may not, and the ends of a server."""

import signal
import socket
import struct
import threading
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import grpc
import pytest
from serving_world import NOW, Arm, ServerProcess, World, mint, until

from skyloom.kernel.clock import SystemClock
from skyloom.serving.grpc.calls import Around
from skyloom.serving.grpc.proto import Protocol, read_protocol
from skyloom.serving.wire import Problem

rpc: Any = grpc
CODE: Any = rpc.StatusCode
SCORE = 0.3499999940395355
COLUMNS: dict[str, tuple[str, str, Any]] = {
    "flight_id": ("BYTES", "bytes_contents", b"g1"),
    "scheduled": ("INT64", "int64_contents", NOW),
    "carrier": ("BYTES", "bytes_contents", b"UA"),
    "distance": ("FP32", "fp32_contents", 100.0),
    "seats": ("INT16", "int_contents", 5),
    "charter": ("BOOL", "bool_contents", False),
}


def protocol(name: str) -> Protocol:
    return read_protocol((files("skyloom.serving.grpc") / name).read_text("utf-8"))


INFERENCE, HEALTH = protocol("inference.proto"), protocol("health.proto")


class Client:
    """Calls by name, with messages of ours: unmodified clients are asked in test_open_inference_clients."""

    def __init__(self, port: int, key: str = "", options: tuple[tuple[str, Any], ...] = ()) -> None:
        self.channel: Any = rpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self._metadata = [("authorization", f"Bearer {key}")] if key else []

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def call(self, name: str, of: Protocol = INFERENCE, /, **fields: Any) -> Any:
        """A call with one answer."""
        request = self._method(name, of).request(**fields)
        return self.send(name, request, of)

    def send(self, name: str, request: Any, of: Protocol = INFERENCE, **options: Any) -> Any:
        method = self._method(name, of)
        made = self.channel.unary_unary(f"/{of.service}/{name}", _bytes, method.response.FromString)
        return made(request, metadata=self._metadata, timeout=options.pop("timeout", 60), **options)

    def stream(self, name: str, requests: Any, of: Protocol = INFERENCE) -> Any:
        method = self._method(name, of)
        path = f"/{of.service}/{name}"
        if method.streams_in:
            made = self.channel.stream_stream(path, _bytes, method.response.FromString)
        else:
            made = self.channel.unary_stream(path, _bytes, method.response.FromString)
        return made(requests, metadata=self._metadata)

    def _method(self, name: str, of: Protocol) -> Any:
        return next(each for each in of.methods if each.name == name)


def _bytes(message: Any) -> bytes:
    return message.SerializeToString()


def typed(**changed: Any) -> Any:
    """A request of one flight with typed contents; ``changed`` are fields of the tensors, by column."""
    request = INFERENCE.messages["ModelInferRequest"](model_name="late", id="7")
    for name, (datatype, field, value) in COLUMNS.items():
        fields = {"name": name, "datatype": datatype, "shape": [1], "contents": {field: [value]}, **changed.get(name, {})}
        request.inputs.add(**fields)
    return request


def raw() -> Any:
    request = INFERENCE.messages["ModelInferRequest"](model_name="late", id="7")
    codes = {"INT64": "<q", "FP32": "<f", "INT16": "<h", "BOOL": "<?"}
    for name, (datatype, _, value) in COLUMNS.items():
        request.inputs.add(name=name, datatype=datatype, shape=[1, 1])
        packed = struct.pack("<I", len(value)) + value if datatype == "BYTES" else struct.pack(codes[datatype], value)
        request.raw_input_contents.append(packed)
    return request


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    world = World(tmp_path_factory.mktemp("grpc"), windowed=False)
    key, stored = mint(["predict"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    server = ServerProcess(world.folder, key, grpc=True, limits={"tensor_bytes": 1_000_000})
    yield server
    server.end(9)
    server.errors.close()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.grpc_port, server.key) as client:
        yield client


def test_contents_are_answered_by_contents_and_raw_bytes_by_raw_bytes(client: Client) -> None:
    answer = client.send("ModelInfer", typed())
    found = {each.name: each for each in answer.outputs}
    assert (answer.model_name, answer.model_version, answer.id) == ("late", "1", "7")
    assert list(found["score"].contents.fp64_contents) == [SCORE]
    assert list(found["label"].contents.bool_contents) == [False]
    assert found["receipt"].contents.bytes_contents[0].startswith(b"p_")
    assert (list(found["score"].shape), list(answer.raw_output_contents)) == ([1], [])
    answer = client.send("ModelInfer", raw())
    assert answer.raw_output_contents[0] == struct.pack("<d", SCORE)
    assert answer.raw_output_contents[1] == b"\0"
    assert not any(each.HasField("contents") for each in answer.outputs)


def both(request: Any) -> None:
    request.raw_input_contents.extend([b""] * len(request.inputs))


def fewer(request: Any) -> None:
    for each in request.inputs:
        each.ClearField("contents")
    request.raw_input_contents.append(b"1234")


BAD: list[tuple[str, Any, str]] = [
    ("raw bytes and contents", both, "send one of them"),
    ("raw bytes of fewer inputs", fewer, "6 inputs and raw bytes of 1"),
    ("another field", {"distance": {"contents": {"fp64_contents": [1.0]}}}, "distance: FP32 stands in fp32_contents, not"),
    ("half floats", {"distance": {"datatype": "FP16"}}, "distance: FP16 comes as raw bytes alone"),
    ("no such datatype", {"distance": {"datatype": "FP8"}}, "distance: there is no datatype FP8"),
    ("out of its range", {"seats": {"datatype": "INT8", "contents": {"int_contents": [999]}}}, "does not fit into INT8"),
    ("a shape that does not fit", {"distance": {"shape": [2]}}, "the shape says 2 values, there are 1"),
    ("a negative dimension", {"distance": {"shape": [-1]}}, "a dimension is negative"),
    ("no text", {"carrier": {"contents": {"bytes_contents": [b"\xff"]}}}, "carrier: an element is no text"),
    ("twice", {"distance": {"name": "seats", "datatype": "INT8", "contents": {"int_contents": [1]}}}, "seats: given twice"),
    ("unknown", {"distance": {"name": "distence"}}, "did you mean distance?"),
    ("infinity", {"distance": {"contents": {"fp32_contents": [float("inf")]}}}, "does not fit into FP32"),
]


@pytest.mark.parametrize(("changed", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_tensor_is_an_invalid_argument_that_is_named(client: Client, changed: Any, says: str) -> None:
    request = typed(**changed) if isinstance(changed, dict) else typed()
    if callable(changed):
        changed(request)
    with pytest.raises(grpc.RpcError) as error:
        client.send("ModelInfer", request)
    assert (error.value.code(), says in error.value.details()) == (CODE.INVALID_ARGUMENT, True), error.value.details()


def test_calls_need_a_key_of_their_scope(server: ServerProcess, client: Client) -> None:
    with Client(server.grpc_port) as nobody, Client(server.grpc_port, mint(["admin"])[0]) as stranger:
        for name in ("ServerMetadata", "ModelMetadata", "ModelReady", "ModelInfer", "ModelConfig", "RepositoryIndex"):
            for other in (nobody, stranger):
                with pytest.raises(grpc.RpcError) as error:
                    other.call(name)
                assert error.value.code() == CODE.UNAUTHENTICATED, name
        with pytest.raises(grpc.RpcError) as error:
            list(nobody.stream("ModelStreamInfer", iter([raw()])))
        assert error.value.code() == CODE.UNAUTHENTICATED
        assert nobody.call("ServerLive").live
        assert nobody.call("ServerReady").ready
    for name in ("ServerMetadata", "RepositoryIndex"):  # this key only predicts
        with pytest.raises(grpc.RpcError) as error:
            client.call(name)
        assert error.value.code() == CODE.PERMISSION_DENIED


def test_calls_that_are_off_are_not_there(client: Client) -> None:
    for name in ("RepositoryModelLoad", "RepositoryModelUnload"):
        with pytest.raises(grpc.RpcError) as error:
            client.call(name, model_name="late")
        assert error.value.code() == CODE.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [rpc.Compression.NoCompression, rpc.Compression.Gzip, rpc.Compression.Deflate])
def test_a_message_that_is_too_long_is_refused_packed_or_not(client: Client, compression: Any) -> None:
    request = raw()
    request.parameters["filling"].string_param = "x" * 20_000_000
    with pytest.raises(grpc.RpcError) as error:
        client.send("ModelInfer", request, compression=compression)
    assert error.value.code() == CODE.RESOURCE_EXHAUSTED
    assert list(client.send("ModelInfer", typed()).outputs)


def test_what_is_no_message_is_an_error_of_its_sender(client: Client) -> None:
    call = client.channel.unary_unary(f"/{INFERENCE.service}/ModelInfer")
    with pytest.raises(grpc.RpcError) as error:
        call(b"\xff\xff\xff", metadata=client._metadata, timeout=60)
    assert error.value.code() == CODE.INVALID_ARGUMENT
    assert "this is no ModelInferRequest" in error.value.details()
    assert list(client.send("ModelInfer", typed()).outputs)


class Waiting:
    """A call that nobody waits for any more, or for ever."""

    metadata: dict[str, str] = {}

    def __init__(self, left: float | None) -> None:
        self._left = left

    def time_remaining(self) -> float | None:
        return self._left


def test_what_nobody_waits_for_is_not_run() -> None:
    class Obeying:
        now = None

    around = Around(Obeying(), None, None)  # type: ignore[arg-type]
    assert around.release_for(Waiting(None), "open") is None
    with pytest.raises(Problem) as problem:
        around.release_for(Waiting(0.0), "open")
    assert problem.value.status == 504


def test_a_deadline_ends_a_call(tmp_path: Any, launch: Any) -> None:
    world = World(tmp_path, windowed=False)
    key, stored = mint(["predict"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25, "hangs"), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key, grpc=True)
    with Client(server.grpc_port, key) as client:
        request = raw()
        request.raw_input_contents[3] = struct.pack("<f", 2.0)
        started = SystemClock().now_ms()
        with pytest.raises(grpc.RpcError) as error:
            client.send("ModelInfer", request, timeout=0.2)
        assert error.value.code() == CODE.DEADLINE_EXCEEDED
        assert SystemClock().now_ms() > started


def test_health_is_told_to_who_asks_and_to_who_watches(tmp_path: Any, launch: Any) -> None:
    world = World(tmp_path, windowed=False)
    key, stored = mint(["read"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key, grpc=True)
    with Client(server.grpc_port) as client:
        for service in ("", INFERENCE.service, HEALTH.service):
            assert client.call("Check", HEALTH, service=service).status == 1
        with pytest.raises(grpc.RpcError) as error:
            client.call("Check", HEALTH, service="other")
        assert error.value.code() == CODE.NOT_FOUND
        request = HEALTH.messages["HealthCheckRequest"]
        unknown = client.stream("Watch", request(service="other"), HEALTH)
        assert next(unknown).status == 3
        watched = client.stream("Watch", request(), HEALTH)
        assert next(watched).status == 1
        server.process.send_signal(signal.SIGTERM)
        assert [each.status for each in watched] == [2]
    assert server.end() == 0, server.said()


def test_sigterm_under_load_fails_nothing_and_ends_idle_streams(tmp_path: Any, launch: Any) -> None:
    world = World(tmp_path, windowed=False)
    key, stored = mint(["predict"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key, grpc=True)
    answered: list[bytes] = []
    failures: list[str] = []

    def ask() -> None:
        with Client(server.grpc_port, key) as client:
            while True:
                try:
                    answered.append(client.send("ModelInfer", raw()).raw_output_contents[2][4:])
                except grpc.RpcError as error:
                    failures.append(str(error.code()))  # type: ignore[attr-defined]
                    return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    with Client(server.grpc_port, key) as client:
        silence = threading.Event()

        def requests() -> Iterator[Any]:
            yield raw()
            silence.wait(60)

        stream = client.stream("ModelStreamInfer", requests())
        answered.append(next(stream).infer_response.raw_output_contents[2][4:])
        for thread in threads:
            thread.start()
        until(lambda: len(answered) > 50)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as error:
            next(stream)
        assert error.value.code() == CODE.UNAVAILABLE
        silence.set()
    for thread in threads:
        thread.join()
    assert server.end() == 0, server.said()
    assert set(failures) == {"StatusCode.UNAVAILABLE"}  # there is nobody left: each thread's last word
    assert sorted(each.id.encode() for each in world.receipts()) == sorted(answered)


def test_calls_are_counted(tmp_path: Any, launch: Any) -> None:
    world = World(tmp_path, windowed=False)
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key, grpc=True)
    with Client(server.grpc_port, key) as asking:
        asking.send("ModelInfer", raw())
        with pytest.raises(grpc.RpcError):
            asking.call("ModelInfer", model_name="none")
    for status in ("OK", "NOT_FOUND"):  # counted just behind the answer
        line = f'skyloom_requests_total{{route="grpc/ModelInfer",status="{status}"}} 1.0'
        until(lambda line=line: line in server.ask("GET", "/metrics")[1])


@pytest.mark.parametrize(
    "text",
    ["option x = 1;", "message A { b c }", "service S { x }", 'syntax = "proto2";', "service S { rpc A(B) gives (C); }"],
)
def test_what_is_no_protocol_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"proto|service"):
        read_protocol(text)


def test_a_port_that_is_taken_is_a_clear_error(tmp_path: Any) -> None:
    import asyncio

    from skyloom.kernel.errors import UsageError
    from skyloom.serving.grpc.server import GrpcServer
    from skyloom.serving.services import Listen

    async def start(port: int) -> None:
        server = GrpcServer(None, Around(None, None, None), 1_000, repository=False)  # type: ignore[arg-type]
        await server.start(Listen(port=port))

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="cannot be listened on for gRPC"):
            asyncio.run(start(taken.getsockname()[1]))
