"""Unmodified client libraries of the Open Inference Protocol, each in its own process, against a real server.

They don't share a process with us or with each other: all of them register messages of the same names.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_world import Arm, ServerProcess, World, mint
from tests.environments import python_with

CLIENTS = (
    "kserve==0.21.0",
    "ml-dtypes==0.5.4",
    "open-inference-grpc==2.0.0",
    "open-inference-openapi==2.0.0.1",
    "protobuf==6.33.6",
    "tritonclient[http,grpc]==2.73.0",
)
CHECKS = {"triton_http": 21, "triton_grpc": 21, "kserve_clients": 7, "open_inference_clients": 6}

pytestmark = pytest.mark.xdist_group("open-inference-clients")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    world = World(tmp_path_factory.mktemp("clients"), windowed=False)
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    contracts = ["health", "open-inference", "repository"]
    server = ServerProcess(world.folder, key, grpc=True, contracts=contracts)
    yield server
    server.end(9)
    server.errors.close()


@pytest.mark.parametrize("program", CHECKS)
def test_every_call_of_a_client_is_answered(server: ServerProcess, program: str) -> None:
    where = {"http": f"127.0.0.1:{server.port}", "grpc": f"127.0.0.1:{server.grpc_port}", "key": server.key}
    words = [python_with("open-inference", *CLIENTS), str(Path(__file__).parent / "clients" / f"{program}.py")]
    done = subprocess.run([*words, json.dumps(where)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert {name: how for name, how in told.items() if how != "ok"} == {}
    assert len(told) == CHECKS[program]
    assert server.process.poll() is None, server.said()
