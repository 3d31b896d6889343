"""The one table of contracts: which routes each brings, and who answers where several want the same one."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from skyloom.kernel.contracts import known_contracts
from skyloom.kernel.errors import DeclarationError
from skyloom.serving.answering import Answering
from skyloom.serving.contracts.aws_lambda import AwsLambda
from skyloom.serving.contracts.azure import Azure
from skyloom.serving.contracts.azure_functions import AzureFunctions
from skyloom.serving.contracts.cloudevents import CloudEvents
from skyloom.serving.contracts.events import Events
from skyloom.serving.contracts.health import Health
from skyloom.serving.contracts.knative import Knative
from skyloom.serving.contracts.mlflow import MLflow
from skyloom.serving.contracts.open_inference import OpenInference, Repository
from skyloom.serving.contracts.open_inference_service import InferenceService
from skyloom.serving.contracts.openapi import PATH as OPENAPI
from skyloom.serving.contracts.openapi import OpenApi
from skyloom.serving.contracts.predict import Predict
from skyloom.serving.contracts.sagemaker import SageMaker
from skyloom.serving.contracts.sagemaker_multi_model import MultiModel
from skyloom.serving.contracts.tensorflow_serving import TensorFlowServing
from skyloom.serving.contracts.tensors_elsewhere import TensorsElsewhere
from skyloom.serving.contracts.torchserve import TorchServe
from skyloom.serving.contracts.vertex import HEALTH, PREDICT, Vertex, routes_of
from skyloom.serving.exchange import Exchange
from skyloom.serving.ingestion import Ingestion
from skyloom.serving.life import Life
from skyloom.serving.metrics import Metrics
from skyloom.serving.services import Limits
from skyloom.serving.table import OPEN, Endpoint, shape_of


class Parts(NamedTuple):
    """What contracts are made of. ``environ`` are the platform's environment variables."""

    answering: Answering
    exchange: Exchange
    inference: InferenceService
    ingestion: Ingestion
    life: Life
    metrics: Metrics
    limits: Limits
    environ: Mapping[str, str]


class Shared(NamedTuple):
    """A route that several contracts want. The first of ``contracts`` that is on answers; ``rule`` says why that is right.

    A path that begins with ``$`` is named by that variable of the environment.
    """

    method: str
    path: str
    contracts: tuple[str, ...]
    rule: str


SHARED = (
    Shared(
        "GET",
        "/ping",
        ("sagemaker", "mlflow", "torchserve"),
        "200 when ready, else 503: all look at the status; the body is empty, MLflow's a line, TorchServe's JSON",
    ),
    Shared(
        "POST",
        "/invocations",
        ("sagemaker", "mlflow"),
        "the body decides: tensors (a json-header-size, or inputs with a datatype) are Open Inference's, all others are rows"
        " in any form; errors have the keys of both",
    ),
    Shared("GET", "/", ("azure", "knative"), "200 when ready, else 503; POST / is CloudEvents'"),
    Shared(
        "GET",
        f"${HEALTH}",
        ("health", "mlflow", "sagemaker", "azure", "knative", "open-inference", "vertex"),
        "who else has the route answers: 200 when ready, else 503 (or, on a route of liveness, while the process answers)",
    ),
    Shared(
        "POST",
        f"${PREDICT}",
        ("vertex", "predict", "sagemaker", "mlflow", "azure"),
        "Vertex answers: who sets the variable serves there, and it takes the rows and tensors that the others take",
    ),
)
"""Who answers where several contracts want one route."""

CATALOG: dict[str, Callable[[Parts], list[Endpoint]]] = {
    "predict": lambda parts: Predict(parts.answering, parts.exchange).endpoints(),
    "events": lambda parts: Events(parts.ingestion).endpoints(),
    "open-inference": lambda parts: _tensors(parts).endpoints(),
    "health": lambda parts: Health(parts.life, parts.metrics).endpoints(),
    "openapi": lambda parts: OpenApi(()).endpoints(),
    "repository": lambda parts: Repository(parts.inference).endpoints(),
    "sagemaker": lambda parts: _sagemaker(parts).endpoints(),
    "sagemaker-multi-model": lambda parts: MultiModel(_sagemaker(parts).invocations).endpoints(),
    "vertex": lambda parts: Vertex(parts.exchange, parts.life, _elsewhere(parts), parts.environ).endpoints(),
    "azure": lambda parts: Azure(parts.exchange, parts.life).endpoints(),
    "mlflow": lambda parts: MLflow(parts.exchange, parts.life).endpoints(),
    "tensorflow-serving": lambda parts: TensorFlowServing(parts.exchange).endpoints(),
    "torchserve": lambda parts: TorchServe(parts.exchange, parts.life).endpoints(),
    "cloudevents": lambda parts: CloudEvents(parts.exchange).endpoints(),
    "knative": lambda parts: Knative(parts.life).endpoints(),
    "aws-lambda": lambda parts: AwsLambda(parts.exchange, parts.environ).endpoints(),
    "azure-functions": lambda parts: AzureFunctions(parts.exchange).endpoints(),
}
"""Contract -> its routes."""

BEHIND_A_PLATFORM = frozenset(
    {
        "sagemaker",
        "sagemaker-multi-model",
        "vertex",
        "azure",
        "mlflow",
        "cloudevents",
        "knative",
        "aws-lambda",
        "azure-functions",
    }
)
"""Contracts whose platforms authenticate callers themselves and pass on no key of ours, as MLflow's client has none."""


def endpoints_of(parts: Parts, contracts: Sequence[str], *, trust_platform: bool = False) -> list[Endpoint]:
    """The routes of the contracts that are on, each once.

    With ``trust_platform`` the routes of `BEHIND_A_PLATFORM` need no key. Raises `DeclarationError` for an unknown contract,
    and for a route that two want and `SHARED` does not know.
    """
    claims: dict[tuple[str, str], dict[str, Endpoint]] = {}
    for name in known_contracts(contracts):
        for endpoint in CATALOG[name](parts):
            opened = trust_platform and name in BEHIND_A_PLATFORM
            claim = endpoint._replace(policy=OPEN) if opened else endpoint
            claims.setdefault((endpoint.method, shape_of(endpoint.path)), {})[name] = claim
    found = [_answering(claimed, parts.environ) for claimed in claims.values()]
    return [each._replace(handle=OpenApi(found).document) if each.path == OPENAPI else each for each in found]


def _answering(claimed: Mapping[str, Endpoint], environ: Mapping[str, str]) -> Endpoint:
    """The endpoint of those who want one route that gets it."""
    if len(claimed) == 1:
        return next(iter(claimed.values()))
    wanted = next(iter(claimed.values()))
    named: dict[str, str] = dict(zip((f"${HEALTH}", f"${PREDICT}"), routes_of(environ), strict=True))
    for shared in SHARED:
        path = named.get(shared.path, shared.path)
        if (shared.method, path) == (wanted.method, wanted.path) and set(claimed) <= set(shared.contracts):
            return next(claimed[name] for name in shared.contracts if name in claimed)
    raise DeclarationError(
        f"{' and '.join(claimed)} both want {wanted.method} {wanted.path}",
        fix="turn one of them off in serving.contracts, or give Vertex a route of its own",
    )


def _tensors(parts: Parts) -> OpenInference:
    return OpenInference(parts.inference, parts.limits.tensor_bytes)


def _sagemaker(parts: Parts) -> SageMaker:
    return SageMaker(parts.exchange, parts.life, _elsewhere(parts), parts.environ)


def _elsewhere(parts: Parts) -> TensorsElsewhere:
    return TensorsElsewhere(parts.exchange, _tensors(parts).infer)
