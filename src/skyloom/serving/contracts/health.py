"""Health and metrics: what a balancer, an orchestrator and a scraper ask."""

from skyloom.serving.life import Life
from skyloom.serving.metrics import Metrics
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Reply, problem, reply


class Health:
    """Alive while the process answers; ready while it has a release and is not on its way out."""

    def __init__(self, life: Life, metrics: Metrics) -> None:
        self._life, self._metrics = life, metrics

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/health/live", OPEN, self.live),
            Endpoint("GET", "/health/startup", OPEN, self.startup),
            Endpoint("GET", "/health/ready", OPEN, self.ready),
            Endpoint("GET", "/metrics", "read", self.metrics),
        ]

    async def live(self, call: Call) -> Reply:
        return reply({"live": True})

    async def startup(self, call: Call) -> Reply:
        """200 once there is a release, also while the process ends: a probe for a slow start, that nobody ends early."""
        return reply({"started": True}) if call.loaded else problem(503, self._life.not_ready(None))

    async def ready(self, call: Call) -> Reply:
        why = self._life.not_ready(call.loaded)
        return problem(503, why) if why else reply({"ready": True})

    async def metrics(self, call: Call) -> Reply:
        return Reply(200, *self._metrics.exposed(call.headers.get("accept", "")))
