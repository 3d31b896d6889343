"""The HTTP server on a socket of ours, in a process of its own: Granian aborts the process where it is wrong."""

import subprocess
import sys

import pytest

BEGINS = """
import asyncio, sys
from skyloom.serving.listener import HttpServer, listening
from skyloom.serving.loop import run
from skyloom.serving.services import Listen

async def app(scope, protocol):
    protocol.response_bytes(200, [], b"")

async def main():
    with listening(Listen(sys.argv[1], 0)) as listener:
        server = HttpServer(app, listener)
        server.stop_accepting()
        serving = asyncio.create_task(server.serve())
        done, _ = await asyncio.wait({serving}, timeout=0.5)
        assert not done
        server.stop()
        await serving
        connecting = asyncio.open_connection(*listener.getsockname()[:2])
        _, writer = await asyncio.wait_for(connecting, 30)
        writer.close()

run(main())
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_who_is_asked_to_end_before_it_has_begun_ends_and_leaves_the_socket_to_others(address: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGINS, address], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
