"""`skyloom up` with a port for gRPC: shared by its servers, and kept while one of them is started again."""

import json
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from tests.journeys import shop
from tests.journeys.journey import Project, Up, until

rpc: Any = grpc


def live(address: str) -> bytes:
    """The answer of ServerLive: field 1, true. Waits until somebody listens; a call that the killed server took with it is
    made again."""
    answers: list[bytes] = []

    def ask() -> bool:
        with rpc.insecure_channel(address) as channel:
            try:
                call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
                answers.append(call(b"", wait_for_ready=True, timeout=60))
            except rpc.RpcError as error:
                if error.code() is not rpc.StatusCode.UNAVAILABLE:
                    raise
        return bool(answers)

    until(ask, "nobody answered")
    return answers[0]


def test_the_port_outlives_the_servers_behind_it(declared: Project, launch: Callable[..., Up]) -> None:
    declared.write("skyloom.toml", shop.SETTINGS.replace("[local.serving]", "[local.serving]\ngrpc_port = 0"))
    declared.json("apply")
    up = launch(declared)
    address: str = json.loads((declared.directory / ".skyloom" / "up.json").read_bytes())["grpc"]
    assert live(address) == b"\x08\x01"
    server = up.children()["runtime.serve"]
    os.kill(server, signal.SIGKILL)
    until(lambda: up.children().get("runtime.serve", server) != server, "no other server was started")
    assert live(address) == b"\x08\x01"
    host, port = address.split(":")
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((host, int(port)))
    assert up.end() == 0, up.said()
