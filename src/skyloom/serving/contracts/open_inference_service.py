"""The Open Inference Protocol without its wire: what REST and gRPC both do."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from skyloom.kernel.clock import Clock
from skyloom.serving.answering import Answering
from skyloom.serving.answers import answers_of
from skyloom.serving.contracts.open_inference_inputs import columns_of, few_rows
from skyloom.serving.contracts.open_inference_models import output_tensors, outputs_named
from skyloom.serving.contracts.open_inference_statistics import Statistics
from skyloom.serving.life import Life
from skyloom.serving.loaded import LoadedRelease, LoadedRoute
from skyloom.serving.router import route_for
from skyloom.serving.tensors import Tensor
from skyloom.serving.wire import Problem


class Inferred(NamedTuple):
    """An answer. ``version`` is who gave it, where it was one version alone."""

    model: str
    version: str | None
    outputs: list[Tensor]

    @property
    def rows(self) -> int:
        """How many rows were answered."""
        return self.outputs[0].shape[0] if self.outputs else 0


class Indexed(NamedTuple):
    """A version in the repository: ``state`` is READY or UNAVAILABLE, and then ``reason`` says why."""

    name: str
    version: str
    state: str
    reason: str


class InferenceService:
    """Answers for the models of a release. A model may be *unloaded* from this process (`set_loaded`): then it is not ready,
    whatever is released. To be used from the event loop."""

    def __init__(self, answering: Answering, life: Life, clock: Clock) -> None:
        self.life, self.aside = life, answering.aside
        self._answering, self._clock = answering, clock
        self._statistics = Statistics()
        self._unloaded: set[str] = set()

    async def infer(
        self,
        release: LoadedRelease,
        model: str | None,
        version: str | None,
        inputs: Sequence[Tensor],
        wanted: Sequence[str] | None,
    ) -> Inferred:
        """The outputs ``wanted`` (``None``: all) for tensors of columns. Raises `Problem` as `Predictor.predict`, and for
        an unknown model or version (404), an unloaded model (503), inputs or outputs that do not fit (400)."""
        started = time.perf_counter_ns()
        route = self.route(release, model, version)
        model = route.model.name
        try:
            names = outputs_named(route, wanted)
            now_ms = self._clock.now_ms()
            rows = few_rows(inputs, route.rows.schema, now_ms)
            if rows is None:
                answers = await self._answering.answer(release, route, columns_of(inputs, route.rows.schema, now_ms))
            else:
                answers = answers_of(await self._answering.predict(release, route, rows))
        except Exception:
            self._statistics.failed(model, version or _version_of(route), ns=time.perf_counter_ns() - started)
            raise
        for each in answers.versions:
            self._statistics.answered(model, str(each), rows=len(answers.receipts), ns=time.perf_counter_ns() - started)
        only = str(next(iter(answers.versions))) if len(answers.versions) == 1 else None
        return Inferred(model, only, output_tensors(names, answers))

    def route(self, release: LoadedRelease, model: str | None, version: str | None) -> LoadedRoute:
        """The route of a model that is loaded (``None``: of the only one); `Problem` with 404 or 503."""
        route = route_for(release, model, version)
        if route.model.name in self._unloaded:
            raise Problem(503, f"{route.model.name} was unloaded from this process; load it to ask it again")
        return route

    def statistics(self, release: LoadedRelease, model: str | None, version: str | None) -> list[dict[str, Any]]:
        """Triton's statistics of a version, of all versions of a model, or of all."""
        routes = [route_for(release, model, version)] if model else list(release.routes.values())
        return self._statistics.told([(each.model.name, str(arm.arm.version)) for each in routes for arm in each.arms])

    def index(self, release: LoadedRelease, ready_only: bool) -> list[Indexed]:
        """All versions that serve, by name."""
        made = [
            Indexed(name, str(arm.arm.version), *(("UNAVAILABLE", "unloaded") if name in self._unloaded else ("READY", "")))
            for name, route in sorted(release.routes.items())
            for arm in route.arms
        ]
        return [each for each in made if each.state == "READY" or not ready_only]

    def set_loaded(self, release: LoadedRelease, model: str, loaded: bool) -> None:
        """Let a model of the release be asked, or not be. `Problem` with 404: only what is released can be loaded."""
        route_for(release, model)
        if loaded:
            self._unloaded.discard(model)
        else:
            self._unloaded.add(model)


def _version_of(route: LoadedRoute) -> str:
    return str(route.arms[-1].arm.version)
