"""SageMaker's multi-model endpoints: models are loaded, listed, unloaded and asked by names that SageMaker makes up.

Source: the SageMaker developer guide, "Build your own container for multi-model endpoints". What can be loaded is what is
released and signed: the archive that SageMaker unpacks holds no model, but says which one it stands for, in
``skyloom.json``: ``{"model": "late_arrival"}``, with a ``version`` where one is to be pinned. Without that file the name
itself is the model's.
"""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from skyloom.serving.body import decode
from skyloom.serving.contracts.sagemaker import explain
from skyloom.serving.router import route_for
from skyloom.serving.table import Endpoint
from skyloom.serving.wire import Call, Handler, Problem, Reply, reply

ROOT = Path("/opt/ml/models")
FILE = "skyloom.json"
_LONGEST = 10_000


class Load(msgspec.Struct, frozen=True):
    """A model to be loaded, and the folder that SageMaker unpacked it to."""

    model_name: str
    url: str


class Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an archive says."""

    model: str
    version: int | None = None


class _Loaded(NamedTuple):
    url: str
    model: str
    version: str | None


class MultiModel:
    """Knows what was loaded into this process alone, so that it wants a server of one process. ``invoke`` answers."""

    def __init__(self, invoke: Handler, root: Path = ROOT) -> None:
        self._invoke, self._root = invoke, root
        self._models: dict[str, _Loaded] = {}

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/models", "admin", self.list, explain),
            Endpoint("POST", "/models", "admin", self.load, explain),
            Endpoint("GET", "/models/{name}", "admin", self.show, explain),
            Endpoint("DELETE", "/models/{name}", "admin", self.unload, explain),
            Endpoint("POST", "/models/{name}/invoke", "predict", self.invoke, explain, 6 * 2**20),
        ]

    async def list(self, call: Call) -> Reply:
        return reply({"models": [_shown(name, each) for name, each in sorted(self._models.items())]})

    async def load(self, call: Call) -> Reply:
        """200; 409 when it is loaded, 404 when nothing of that name is released, 400 for a folder out of bounds."""
        asked: Load = decode(call.body, Load)
        if asked.model_name in self._models:
            raise Problem(409, f"{asked.model_name} is loaded")
        if not asked.model_name or "/" in asked.model_name:
            raise Problem(400, f"model_name: {asked.model_name!r} is no name")
        archive = self._archive(asked)
        version = None if archive.version is None else str(archive.version)
        route_for(call.release, archive.model, version)
        self._models[asked.model_name] = _Loaded(asked.url, archive.model, version)
        return reply(_shown(asked.model_name, self._models[asked.model_name]))

    async def show(self, call: Call) -> Reply:
        return reply(_shown(call.parameters["name"], self._found(call)))

    async def unload(self, call: Call) -> Reply:
        self._found(call)
        del self._models[call.parameters["name"]]
        return reply({})

    async def invoke(self, call: Call) -> Reply:
        found = self._found(call)
        named = {"model": found.model} | ({} if found.version is None else {"version": found.version})
        return await self._invoke(call._replace(parameters=named))

    def _found(self, call: Call) -> _Loaded:
        name = call.parameters["name"]
        if name not in self._models:
            raise Problem(404, f"{name} is not loaded")
        return self._models[name]

    def _archive(self, asked: Load) -> Archive:
        """What the archive in the folder says, which lies under the root whatever links there are."""
        file = self._within(asked.url, f"url: {asked.url} does not lie in {self._root}") / FILE
        file = self._within(file, f"{FILE} of {asked.model_name} leads out of {self._root}")
        try:
            with file.open("rb") as content:
                return msgspec.json.decode(content.read(_LONGEST), type=Archive)
        except FileNotFoundError:
            return Archive(asked.model_name)
        except (OSError, msgspec.DecodeError) as error:
            raise Problem(400, f"{FILE} of {asked.model_name} cannot be read: {error}") from error

    def _within(self, path: str | Path, otherwise: str) -> Path:
        """Where a path really leads, if that is under the root."""
        try:
            found = Path(path).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise Problem(400, f"{otherwise}: {error}") from error
        if not found.is_relative_to(self._root.resolve()):
            raise Problem(400, otherwise)
        return found


def _shown(name: str, each: _Loaded) -> dict[str, Any]:
    return {"modelName": name, "modelUrl": each.url}
