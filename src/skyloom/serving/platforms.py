"""Where the platforms of contracts want a server to listen."""

from collections.abc import Mapping, Sequence

from skyloom.kernel.errors import UsageError
from skyloom.serving.services import Listen

PORTS = (
    ("sagemaker", "SAGEMAKER_BIND_TO_PORT"),
    ("vertex", "AIP_HTTP_PORT"),
    ("aws-lambda", "AWS_LWA_PORT"),
    ("azure-functions", "FUNCTIONS_CUSTOMHANDLER_PORT"),
    ("knative", "PORT"),
)
"""(contract, the variable of the environment that names its port), the strongest first."""

EVERYWHERE = "0.0.0.0"  # noqa: S104  # in a container whoever asks comes from outside
_LARGEST = 65_535


def listen_on(contracts: Sequence[str], environ: Mapping[str, str], otherwise: Listen) -> Listen:
    """What the platform says, on all addresses; ``otherwise`` where no contract that is on has its variable set.

    >>> listen_on(["predict", "knative"], {"PORT": "9000"}, Listen(port=8080))
    Listen(address='0.0.0.0', port=9000, descriptor=None)
    >>> listen_on(["predict"], {"PORT": "9000"}, Listen(port=8080)).port
    8080

    Raises `UsageError` for a variable that is no port.
    """
    for contract, variable in PORTS:
        told = environ.get(variable, "")
        if contract in contracts and told:
            if not told.isdecimal() or not 0 < int(told) <= _LARGEST:
                raise UsageError(f"{variable}={told} is no port", fix=f"unset {variable}, or give it one from 1 to 65535")
            return Listen(EVERYWHERE, int(told))
    return otherwise
