"""Who is measured beside Skyloom, how it is started, and what it is asked. One entry a peer."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.environments import python_of
from bench.serving import made
from bench.serving.servers import free_port

_PEERS = Path(__file__).parent / "peers"
KINDS = ("sklearn", "onnx")
"""As people run them, with what the training function returned; and with the ONNX file that Skyloom serves."""


class Started(NamedTuple):
    """How a server is started, and what it is asked for one row: path and bodies, and the scores in its answer."""

    words: Sequence[str]
    port: int
    path: Callable[[str], str]
    bodies: Sequence[bytes]
    scores: Callable[[Any], list[float]]
    environment: dict[str, str]
    cwd: Path
    models: tuple[str, ...] = ("linear", "forest")
    grpc_port: int = 0
    key: str = ""


Peer = Callable[[made.Project, str, Path], list[Started]]
"""Takes the project, the kind and a folder of its own; gives one server, or one for each model."""


def fastapi(project: made.Project, kind: str, folder: Path) -> list[Started]:
    return [_program("fastapi", "fastapi_server.py", project, kind, _objects(), lambda answer: [answer["prediction"]])]


def litserve(project: made.Project, kind: str, folder: Path) -> list[Started]:
    return [_program("litserve", "litserve_server.py", project, kind, _objects(), lambda answer: [answer["prediction"]])]


def ray(project: made.Project, kind: str, folder: Path) -> list[Started]:
    return [_program("ray", "ray_server.py", project, kind, _objects(), lambda answer: [answer["prediction"]])]


def bentoml(project: made.Project, kind: str, folder: Path) -> list[Started]:
    python, port = python_of("bentoml"), free_port()
    words = [
        str(Path(python).with_name("bentoml")),
        "serve",
        "bentoml_service:Asked",
        "-p",
        str(port),
        "--host",
        "127.0.0.1",
    ]
    environment = {
        "KIND": kind,
        "FOLDER": str(project.folder),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder),
        "PYTHONPATH": str(_PEERS),
    }
    bodies = [msgspec.json.encode({"rows": [list(row.values())]}) for row in made.rows()]
    return [Started(words, port, lambda model: f"/predict/{model}", bodies, lambda answer: answer, environment, _PEERS)]


def mlflow(project: made.Project, kind: str, folder: Path) -> list[Started]:
    """`mlflow models serve` serves one model, so there are two servers."""
    from bench.processes import seconds

    python = python_of("mlflow")
    bodies = [
        msgspec.json.encode({"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}) for row in made.rows()
    ]
    begun: list[Started] = []
    for model in ("linear", "forest"):
        target, port = folder / f"{kind}-{model}", free_port()
        seconds(python, str(_PEERS / "mlflow_model.py"), str(project.folder), kind, model, str(target), timeout=120)
        words = [str(Path(python).with_name("mlflow")), "models", "serve", "-m", str(target), "-p", str(port)]
        words += ["-h", "127.0.0.1", "--env-manager", "local", "--workers", "1"]
        path = f"{Path(python).parent}:/usr/bin:/bin"
        environment = {"PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "DO_NOT_TRACK": "true"}
        begun.append(
            Started(
                words, port, lambda model: "/invocations", bodies, lambda answer: answer["predictions"], environment, folder,
                (model,),
            )
        )  # fmt: skip
    return begun


def mlserver(project: made.Project, kind: str, folder: Path) -> list[Started]:
    python, port, grpc_port, metrics = python_of("mlserver"), free_port(), free_port(), free_port()
    runtime = {"sklearn": "mlserver_sklearn.SKLearnModel", "onnx": "mlserver_runtime.OnnxModel"}[kind]
    settings = {"http_port": port, "grpc_port": grpc_port, "metrics_port": metrics, "host": "127.0.0.1", "debug": False}
    settings |= {"parallel_workers": 0, "use_structured_logging": False}
    _settings(folder / "settings.json", settings)
    for model in ("linear", "forest"):
        (folder / model).mkdir(parents=True)
        file = project.estimator(model) if kind == "sklearn" else project.onnx(model)
        parameters = {"uri": str(file), "version": "1"}
        _settings(
            folder / model / "model-settings.json", {"name": model, "implementation": runtime, "parameters": parameters}
        )
    words = [str(Path(python).with_name("mlserver")), "start", str(folder)]
    return [_inference(words, port, grpc_port, {"PYTHONPATH": str(_PEERS)}, folder)]


def kserve(project: made.Project, kind: str, folder: Path) -> list[Started]:
    python, port, grpc_port = python_of("kserve"), free_port(), free_port()
    words = [python, str(_PEERS / "kserve_server.py"), str(port), str(project.folder), kind, str(grpc_port)]
    return [_inference(words, port, grpc_port, {}, folder)]


PEERS: dict[str, Peer] = {
    "FastAPI": fastapi,
    "LitServe": litserve,
    "MLServer": mlserver,
    "BentoML": bentoml,
    "MLflow": mlflow,
    "KServe": kserve,
    "Ray Serve": ray,
}


def skyloom(project: made.Project, *, grpc: bool = False, alone: bool = False) -> Started:
    """`skyloom serve`, with all its models (or the linear one ``alone``), its logbook and its metrics."""
    from bench.processes import SKYLOOM

    port, grpc_port = free_port(), free_port() if grpc else 0
    words = [sys.executable, SKYLOOM, "serve", "--port", str(port)]
    if grpc:
        words += ["--profile", _grpc_profile(project, grpc_port)]
    return Started(
        words, port, lambda model: f"/predict/{model}", made.bodies(project, "linear"), lambda answer: [answer["score"]], {},
        project.alone if alone else project.folder, made.MODELS, grpc_port, project.key,
    )  # fmt: skip


def echo() -> Started:
    """A bare Granian that answers each body with itself."""
    port = free_port()
    words = [sys.executable, "-m", "bench.echo", str(port)]
    return Started(words, port, lambda model: "/", [], lambda answer: [], {}, Path(__file__).parent.parent.parent)


def _grpc_profile(project: made.Project, grpc_port: int) -> str:
    path = project.folder / "skyloom.toml"
    told = path.read_text().partition("\n[grpc]")[0]
    path.write_text(f'{told}\n[grpc]\nserving = {{ model = "linear", grpc_port = {grpc_port} }}\n')
    return "grpc"


def _program(
    name: str, file: str, project: made.Project, kind: str, bodies: Sequence[bytes], scores: Callable[[Any], list[float]]
) -> Started:
    port = free_port()
    words = [python_of(name), str(_PEERS / file), str(port), str(project.folder), kind]
    return Started(words, port, lambda model: f"/predict/{model}", bodies, scores, {}, _PEERS)


def _inference(words: Sequence[str], port: int, grpc_port: int, environment: dict[str, str], folder: Path) -> Started:
    """A server of the Open Inference Protocol."""
    bodies = [
        msgspec.json.encode({"inputs": [{"name": "x", "shape": [1, 10], "datatype": "FP32", "data": list(row.values())}]})
        for row in made.rows()
    ]
    return Started(
        words, port, lambda model: f"/v2/models/{model}/infer", bodies, lambda answer: answer["outputs"][0]["data"],
        environment, folder, grpc_port=grpc_port,
    )  # fmt: skip


def _objects() -> list[bytes]:
    return [msgspec.json.encode(row) for row in made.rows()]


def _settings(path: Path, told: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(told))
