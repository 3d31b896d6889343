"""The Open Inference Protocol, version 2, over REST: a model takes one tensor for each column of its request.

Source: github.com/kserve/open-inference-protocol, ``inference_rest.md``, with Triton's extensions for binary tensors, model
configuration, statistics and the repository's index. A request of n rows has inputs of shape [n] or [n, 1], or one [n, k]
(`open_inference_inputs`); the answer has ``score`` (FP64, [n]), for a condition ``label`` (BOOL, [n]), and ``receipt``
(BYTES, [n]).
"""

from importlib.metadata import version as installed

import msgspec

from skyloom.serving.body import decode
from skyloom.serving.compression import packed, unpack
from skyloom.serving.contracts import open_inference_body as body
from skyloom.serving.contracts.open_inference_models import EXTENSIONS, SERVER, config_of, metadata_of
from skyloom.serving.contracts.open_inference_service import InferenceService, Inferred
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Reply, problem, reply

_ROW = 16  # bytes of a row's answer that take as long to write as so many of a request to read


class _Index(msgspec.Struct, frozen=True):
    ready: bool = False


class OpenInference:
    """Health, metadata and inference, with and without a version in the path (which then pins that version).

    ``longest`` is how many bytes a body of tensors may have, also once it is unpacked.
    """

    def __init__(self, service: InferenceService, longest: int) -> None:
        self._service, self._longest = service, longest

    def endpoints(self) -> list[Endpoint]:
        model = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
        return [
            Endpoint("GET", "/v2", "read", self.server),
            Endpoint("GET", "/v2/", "read", self.server),
            Endpoint("GET", "/v2/health/live", OPEN, self.live),
            Endpoint("GET", "/v2/health/ready", OPEN, self.ready),
            Endpoint("GET", "/v2/models/stats", "read", self.statistics),
            Endpoint("POST", "/v2/repository/index", "read", self.index),
            *(Endpoint("GET", path, "predict", self.model) for path in model),
            *(Endpoint("GET", f"{path}/ready", "predict", self.model_ready) for path in model),
            *(Endpoint("GET", f"{path}/config", "predict", self.config) for path in model),
            *(Endpoint("GET", f"{path}/stats", "predict", self.statistics) for path in model),
            *(Endpoint("POST", f"{path}/infer", "predict", self.infer, longest=self._longest) for path in model),
        ]

    async def server(self, call: Call) -> Reply:
        return reply({"name": SERVER, "version": installed(SERVER), "extensions": EXTENSIONS})

    async def live(self, call: Call) -> Reply:
        return reply({"live": True})

    async def ready(self, call: Call) -> Reply:
        why = self._service.life.not_ready(call.loaded)
        return problem(503, why) if why else reply({"ready": True})

    async def model(self, call: Call) -> Reply:
        return reply(metadata_of(self._service.route(call.release, *_named(call))))

    async def model_ready(self, call: Call) -> Reply:
        return reply({"name": self._service.route(call.release, *_named(call)).model.name, "ready": True})

    async def config(self, call: Call) -> Reply:
        return reply(config_of(self._service.route(call.release, *_named(call))))

    async def statistics(self, call: Call) -> Reply:
        model, version = call.parameters.get("model"), call.parameters.get("version")
        return reply({"model_stats": self._service.statistics(call.release, model, version)})

    async def index(self, call: Call) -> Reply:
        asked: _Index = decode(call.body, _Index) if call.body.strip() else _Index()
        return reply([each._asdict() for each in self._service.index(call.release, asked.ready)])

    async def infer(self, call: Call) -> Reply:
        asked = await self._service.aside(body.weight(call.body, call.headers), self._read, call)
        done = await self._service.infer(call.release, *_named(call), asked.inputs, asked.wanted)
        return await self._service.aside(_ROW * done.rows, _written, asked, done, call.headers.get("accept-encoding", ""))

    def _read(self, call: Call) -> body.Asked:
        return body.read(unpack(call.body, call.headers.get("content-encoding", ""), self._longest), call.headers)


class Repository:
    """Triton's repository control: takes a released model out of this process, and lets it in again.

    Routes that administrate: they are there only where this contract is on. What serves is said by the release alone, so
    that nothing that is not in it can be loaded; and each process of a server is asked for itself.
    """

    def __init__(self, service: InferenceService) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("POST", "/v2/repository/models/{model}/load", "admin", self.load),
            Endpoint("POST", "/v2/repository/models/{model}/unload", "admin", self.unload),
        ]

    async def load(self, call: Call) -> Reply:
        self._service.set_loaded(call.release, call.parameters["model"], True)
        return reply({})

    async def unload(self, call: Call) -> Reply:
        self._service.set_loaded(call.release, call.parameters["model"], False)
        return reply({})


def _written(asked: body.Asked, done: Inferred, accepted: str) -> Reply:
    return packed(body.write(asked, done.model, done.version, done.outputs), accepted)


def _named(call: Call) -> tuple[str | None, str | None]:
    """Model and version of a path; no model where a server of one model is asked without."""
    return call.parameters.get("model"), call.parameters.get("version")
