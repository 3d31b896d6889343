"""The contracts that serving can speak, by the names that a profile turns them on with."""

from collections.abc import Sequence

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.ids import nearest

CONTRACTS = {
    "predict": "Skyloom's own: POST /predict",
    "events": "events in: POST /events/SOURCE",
    "open-inference": "the Open Inference Protocol v2 (KServe, Triton, MLServer)",
    "health": "health and metrics",
    "openapi": "the OpenAPI document of all routes that are on",
    "repository": "Triton's control of the repository: loads and unloads a released model",
    "sagemaker": "Amazon SageMaker: real-time, asynchronous and batch transform",
    "sagemaker-multi-model": "SageMaker's multi-model endpoints: load, list, unload and ask models by name",
    "vertex": "Google Vertex AI: AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE, raw predictions",
    "azure": "Azure Machine Learning online endpoints: POST /score",
    "mlflow": "the scoring server of MLflow",
    "tensorflow-serving": "TensorFlow Serving over REST: predict, classify, regress",
    "torchserve": "TorchServe's predictions",
    "cloudevents": "CloudEvents 1.0 over HTTP: events with requests in, events with predictions out",
    "knative": "Knative and Cloud Run: PORT, and GET / for probes",
    "aws-lambda": "AWS Lambda: its runtime API; events of HTTP, SQS, Kinesis, S3 and EventBridge",
    "azure-functions": "Azure Functions: a custom handler",
}
"""Name -> what it is."""

DEFAULT = ("predict", "events", "open-inference", "health", "openapi")


def known_contracts(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once; raises `DeclarationError` (with near names) for one that is no contract.

    >>> known_contracts(["predict", "sagemakr"])
    Traceback (most recent call last):
    ...
    skyloom.kernel.errors.DeclarationError: there is no contract 'sagemakr'
      tried: predict, events, open-inference, ...
      next:  did you mean sagemaker or sagemaker-multi-model?
    """
    for name in names:
        if name not in CONTRACTS:
            near = nearest(name, list(CONTRACTS))
            fix = f"did you mean {' or '.join(near)}?" if near else "use one of these"
            raise DeclarationError(f"there is no contract {name!r}", tried=", ".join(CONTRACTS), fix=fix)
    return tuple(dict.fromkeys(names))
