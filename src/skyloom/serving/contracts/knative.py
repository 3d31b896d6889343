"""Knative and Cloud Run: one port, named by ``PORT``, and a probe at ``/``.

Source: github.com/knative/specs, the runtime contract; the container contract of Cloud Run.
"""

from skyloom.serving.life import Life
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Reply, problem, reply


class Knative:
    """200 at ``/`` while the process is ready, else 503."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", "/", OPEN, self.ready)]

    async def ready(self, call: Call) -> Reply:
        why = self._life.not_ready(call.loaded)
        return problem(503, why) if why else reply({"ready": True})
