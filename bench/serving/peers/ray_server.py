"""Ray Serve with FastAPI's ingress replaced by its own requests: one replica a model, on a Ray of its own."""

import logging
import os
import signal
import sys
import tempfile
import threading

import ray
from ray import serve
from starlette.requests import Request

port, folder, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
here = os.path.dirname(os.path.abspath(__file__))


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
class Asked:
    def __init__(self, name: str, kind: str, folder: str) -> None:
        from asked_models import load

        self.model = load(kind, folder, name)

    async def __call__(self, request: Request) -> dict[str, float]:
        row = await request.json()
        return {"prediction": self.model.predict([list(row.values())])[0]}


def main() -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    with tempfile.TemporaryDirectory(prefix="ray-") as place:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            configure_logging=False,
            object_store_memory=100 * 2**20,
            _temp_dir=place,
            runtime_env={"env_vars": {"PYTHONPATH": here}},
        )
        quiet = {"enable_access_log": False, "log_level": logging.WARNING}
        serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=quiet)
        for name in ("linear", "forest"):
            serve.run(Asked.bind(name, kind, folder), name=name, route_prefix=f"/predict/{name}", logging_config=quiet)
        ended.wait()
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
