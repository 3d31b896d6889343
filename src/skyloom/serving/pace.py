"""How slowly a serving process ends: what the platform around it leaves it, or what the environment says."""

from collections.abc import Mapping
from typing import NamedTuple

from skyloom.kernel.errors import UsageError

DELAY, TIMEOUT = "DRAIN_DELAY", "DRAIN_TIMEOUT"
"""Variables of the environment, in seconds: how long a process that was asked to end goes on accepting, not ready any more,
and how long requests and the logbook may take after that."""


class Pace(NamedTuple):
    """The two times of an end, in seconds."""

    lame_duck_s: float
    drain_s: float


OTHERWISE = Pace(0.5, 6.0)
PLATFORMS = (
    ("AWS_LAMBDA_FUNCTION_NAME", Pace(0.0, 1.0)),
    ("K_SERVICE", Pace(0.0, 8.0)),
    ("SAGEMAKER_BIND_TO_PORT", Pace(0.0, 25.0)),
    ("KUBERNETES_SERVICE_HOST", Pace(5.0, 20.0)),
)
"""(a variable that tells where we are, how to end there), the strongest first: Lambda sends no signal that one may rely on;
Cloud Run and Knative (``K_SERVICE``) kill after 10 s, and their proxies have sent requests elsewhere before the signal;
SageMaker kills after 30 s; on Kubernetes endpoints are told of an end at the same time as the process, so that it goes on
for 5 s of the 30 that it has."""


def pace_of(environ: Mapping[str, str]) -> Pace:
    """How to end here. Raises `UsageError` for a variable that is no time.

    >>> pace_of({}), pace_of({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "DRAIN_DELAY": "8"})
    (Pace(lame_duck_s=0.5, drain_s=6.0), Pace(lame_duck_s=8.0, drain_s=20.0))
    """
    here = next((pace for variable, pace in PLATFORMS if variable in environ), OTHERWISE)
    return Pace(_seconds(environ, DELAY, here.lame_duck_s), _seconds(environ, TIMEOUT, here.drain_s))


def _seconds(environ: Mapping[str, str], variable: str, otherwise: float) -> float:
    said = environ.get(variable, "")
    try:
        seconds = float(said) if said else otherwise
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 3_600:
        raise UsageError(f"{variable}={said} is no time", fix=f"give {variable} seconds, 0 to 3600, or unset it")
    return seconds
