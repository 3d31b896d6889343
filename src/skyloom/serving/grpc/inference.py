"""The calls of ``inference.GRPCInferenceService``: the Open Inference Protocol with the extensions of Triton and KServe."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from importlib.metadata import version as installed
from typing import Any

from skyloom.serving.contracts.open_inference_models import (
    EXTENSIONS,
    PLATFORM,
    SERVER,
    config_of,
    inputs_of,
    outputs_of,
)
from skyloom.serving.contracts.open_inference_service import InferenceService
from skyloom.serving.grpc.calls import ENDING, Answer, Around, why
from skyloom.serving.grpc.contents import put, tensors_of
from skyloom.serving.grpc.proto import Protocol
from skyloom.serving.grpc.status import Code
from skyloom.serving.grpc.stream import Message, Stream
from skyloom.serving.loaded import LoadedRelease
from skyloom.serving.table import OPEN
from skyloom.serving.wire import Problem

_RAW_TO_JSON, _ROW = 32, 16  # messages are read as fast as raw tensors over REST

FINAL = "triton_final_response"
"""The parameter by which Triton's clients know the last answer to a request of a stream."""


class InferenceCalls:
    """Answers with the messages of ``protocol``."""

    def __init__(self, service: InferenceService, around: Around, protocol: Protocol) -> None:
        self._service, self._around = service, around
        self._messages = protocol.messages
        self._ending = asyncio.Event()

    def unary(self, *, repository: bool) -> dict[str, tuple[str, Answer]]:
        """The calls with one answer by their names, each with its policy; those that administrate, if ``repository``."""
        control: dict[str, tuple[str, Answer]] = {
            "RepositoryModelLoad": ("admin", partial(self._set_loaded, True)),
            "RepositoryModelUnload": ("admin", partial(self._set_loaded, False)),
        }
        return {
            "ServerLive": (OPEN, self.live),
            "ServerReady": (OPEN, self.ready),
            "ServerMetadata": ("read", self.server),
            "ModelReady": ("predict", self.model_ready),
            "ModelMetadata": ("predict", self.model),
            "ModelInfer": ("predict", self.infer),
            "ModelConfig": ("predict", self.config),
            "ModelStatistics": ("predict", self.statistics),
            "RepositoryIndex": ("read", self.index),
            **(control if repository else {}),
        }

    def end(self) -> None:
        """Let streams end behind the request that they are at."""
        self._ending.set()

    async def live(self, request: Any, loaded: LoadedRelease | None) -> Any:
        return self._messages["ServerLiveResponse"](live=True)

    async def ready(self, request: Any, loaded: LoadedRelease | None) -> Any:
        return self._messages["ServerReadyResponse"](ready=not self._service.life.not_ready(loaded))

    async def server(self, request: Any, loaded: LoadedRelease | None) -> Any:
        response = self._messages["ServerMetadataResponse"]
        return response(name=SERVER, version=installed(SERVER), extensions=EXTENSIONS)

    async def model_ready(self, request: Any, loaded: LoadedRelease | None) -> Any:
        """``false`` for a model that is not there, too: some clients take an error for a failure of the server."""
        try:
            self._service.route(_there(loaded), request.name, request.version or None)
        except Problem:
            return self._messages["ModelReadyResponse"](ready=False)
        return self._messages["ModelReadyResponse"](ready=True)

    async def model(self, request: Any, loaded: LoadedRelease | None) -> Any:
        route = self._service.route(_there(loaded), request.name, request.version or None)
        return self._messages["ModelMetadataResponse"](
            name=route.model.name,
            versions=[str(each.arm.version) for each in route.arms],
            platform=PLATFORM,
            inputs=[each._asdict() for each in inputs_of(route)],
            outputs=[each._asdict() for each in outputs_of(route)],
        )

    async def config(self, request: Any, loaded: LoadedRelease | None) -> Any:
        config = config_of(self._service.route(_there(loaded), request.name, request.version or None))
        return self._messages["ModelConfigResponse"](config=config)

    async def statistics(self, request: Any, loaded: LoadedRelease | None) -> Any:
        told = self._service.statistics(_there(loaded), request.name or None, request.version or None)
        return self._messages["ModelStatisticsResponse"](model_stats=told)

    async def index(self, request: Any, loaded: LoadedRelease | None) -> Any:
        models = [each._asdict() for each in self._service.index(_there(loaded), request.ready)]
        return self._messages["RepositoryIndexResponse"](models=models)

    async def _set_loaded(self, wanted: bool, request: Any, loaded: LoadedRelease | None) -> Any:
        model = request.model_name or request.repository_name  # KServe's clients have the model's name first
        self._service.set_loaded(_there(loaded), model, wanted)
        return self._messages["RepositoryModelResponse"](model_name=model, done=True)

    async def infer(self, request: Any, loaded: LoadedRelease | None) -> Any:
        wanted = [each.name for each in request.outputs] or None
        release = _there(loaded)
        inputs = await self._service.aside(request.ByteSize() // _RAW_TO_JSON, tensors_of, request)
        done = await self._service.infer(release, request.model_name, request.model_version or None, inputs, wanted)
        response = self._messages["ModelInferResponse"](
            model_name=done.model, model_version=done.version or "", id=request.id
        )
        raw = bool(request.raw_input_contents)
        await self._service.aside(done.rows * _ROW, put, response, done.outputs, raw)
        return response

    async def stream(self, messages: AsyncIterator[Message], call: Stream) -> AsyncIterator[Any]:
        """Answers each request, in order; what is wrong with one is said in its place, and the stream goes on."""
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            while (message := await self._following(messages, ending)) is not None:
                yield await self._streamed(message, call)
        finally:
            ending.cancel()
        if self._ending.is_set():
            raise Problem(503, ENDING)

    async def _following(self, messages: AsyncIterator[Message], ending: "asyncio.Future[Any]") -> Message | None:
        """The next request of a stream; ``None`` at its end, or when this process is asked to end."""
        following = asyncio.ensure_future(anext(messages, None))
        try:
            await asyncio.wait({following, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not following.done():
                following.cancel()
        return None if not following.done() else following.result()

    async def _streamed(self, message: Message, call: Stream) -> Any:
        around, code, started = self._around, Code.CANCELLED, time.perf_counter()
        around.life.in_flight += 1
        told, request, answer = "", None, self._messages["ModelInferResponse"]()
        now = around.begin(call)
        try:
            request = await around.read(self._messages["ModelInferRequest"], message, call)
            answer = await self.infer(request, around.release_for(call, "predict"))
            code = Code.OK
        except Exception as error:  # noqa: BLE001  # the edge of a request: whatever it met, the others go on
            code, told = why(error, "ModelStreamInfer")
            answer.id = getattr(request, "id", "")
        finally:
            around.life.in_flight -= 1
            around.count("grpc/ModelStreamInfer", code, started, now)
            around.end(call, code, started, now)
        answer.parameters[FINAL].bool_param = True
        return self._messages["ModelStreamInferResponse"](error_message=told, infer_response=answer)


def _there(loaded: LoadedRelease | None) -> LoadedRelease:
    if loaded is None:
        raise Problem(503, "nothing has been released to this server yet")
    return loaded
