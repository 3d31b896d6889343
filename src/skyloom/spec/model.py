"""Models: requests, features, a label and the function that learns."""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Term
from skyloom.kernel.records.definitions import MODES
from skyloom.kernel.units import SECOND, parse_duration
from skyloom.spec.features import Feature, Features, Reached
from skyloom.spec.label import Label
from skyloom.spec.logbook import Logbook
from skyloom.spec.source import Source
from skyloom.spec.table import Row, rows_of

if TYPE_CHECKING:
    from skyloom.spec.loop import Loop

Inputs = ParamSpec("Inputs")
Fitted = TypeVar("Fitted")

BINARY_METRICS = ("roc_auc", "average_precision", "brier", "log_loss", "ece")
REGRESSION_METRICS = ("mae", "rmse", "r2")
METRICS = {"binary": BINARY_METRICS, "regression": REGRESSION_METRICS}
"""The metrics of each task, the usual one first."""

LONGEST_PROMISE = 60 * SECOND
"""No server lets a model have longer for a request."""

HIGHER_IS_BETTER = ("roc_auc", "average_precision", "r2")


class Model(Generic[Inputs, Fitted]):
    """A declared model. Calling it calls the training function, which is what it wraps; `model` makes it."""

    def __init__(
        self,
        function: Callable[Inputs, Fitted],
        *,
        requests: Source,
        label: Label,
        features: tuple[Feature, ...],
        metrics: tuple[str, ...],
        task: str,
        history: str = MODES[0],
        logbook: Logbook | None = None,
        max_latency: str | None = None,
    ) -> None:
        self.function = function
        self.requests = requests
        self.label = label
        self.features = features
        self.task = task
        self.history = history
        self.logbook = logbook or Logbook()
        self.max_latency = max_latency
        self.metrics = metrics
        self.loop: Loop | None = None
        update_wrapper(self, function)

    def __call__(self, *args: Inputs.args, **kwargs: Inputs.kwargs) -> Fitted:
        return self.function(*args, **kwargs)

    def attach(self, loop: "Loop") -> None:
        """Let ``loop`` say how this model lives. Raises `DeclarationError` when another one does already."""
        if self.loop is not None:
            raise DeclarationError(f"{self.function.__name__} has two loops", fix="keep one sky.Loop for it")
        self.loop = loop

    @property
    def groups(self) -> tuple[Features, ...]:
        """The groups of windowed features among its features and within its expressions, each once."""
        found: dict[int, Features] = {}
        for each in self.ways:
            group = each.features if isinstance(each, Reached) else each
            found[id(group)] = group
        return tuple(found.values())

    @property
    def ways(self) -> tuple[Features | Reached, ...]:
        """The groups of windowed features among its features and within its expressions, in every way they are reached."""
        found: list[object] = []
        for feature in self.features:
            found += feature.groups.values() if isinstance(feature, Term) else [feature]
        return tuple(each for each in found if isinstance(each, Features | Reached))

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of entity tables that its features read, each after those that hold its keys."""
        terms: list[Term] = []
        for feature in self.features:
            ways = feature.groups.values() if isinstance(feature, Term) else [feature]
            terms += [key for way in ways if isinstance(way, Reached) for key in way.keys]
            terms += [feature] if isinstance(feature, Term) else []
        return tuple(rows_of(terms))


def model(
    *,
    requests: Source,
    label: Label,
    features: Sequence[Feature],
    metrics: Sequence[str] | None = None,
    task: str = "binary",
    history: str = MODES[0],
    logbook: Logbook | None = None,
    max_latency: str | None = None,
) -> Callable[[Callable[Inputs, Fitted]], Model[Inputs, Fitted]]:
    """Declares the decorated function, ``function(X, y, *, parameter=default ...)``, to be how a model is trained.

    ``X`` is a pandas DataFrame of shape [rows, features] (numbers float32, missing NaN; strings ``category``), ``y`` a
    Series. A score is the probability that the label is true (``task="binary"``) or the value (``"regression"``).
    ``metrics`` are computed on the later part of the data, the first one being the model's own; ``("roc_auc",)`` or
    ``("mae",)`` when not given. ``history`` says what the requests of a training set see: ``"as_available"`` (what was
    visible at their moment), ``"as_served"`` (served requests alone, with what they were served) or ``"as_event"`` (all that
    had happened, however late it came in). ``logbook`` says what is kept of predictions (all). ``max_latency`` is a promise:
    a server answers within this time, as in ``"50ms"``, or refuses at once.
    Raises `DeclarationError` for a task, a history, a duration or a feature that is none.

    >>> import skyloom as sky
    >>> class Visit(sky.Event):
    ...     id: str = sky.key()
    ...     at: sky.Timestamp = sky.time()
    ...     bought: bool
    >>> visits = sky.Source(Visit)
    >>> bought = sky.Label(visits, on="id", value=sky.col("bought"), within="1d")
    >>> @sky.model(requests=visits, label=bought, features=[sky.hour("at")])
    ... def buys(X, y, *, depth: int = 3):
    ...     return depth
    >>> buys(None, None)
    3
    """
    if task not in METRICS:
        raise DeclarationError(f"{task!r} is no task", fix='say task="binary" or task="regression"')
    if history not in MODES:
        raise DeclarationError(f"{history!r} is no history", tried=", ".join(MODES), fix=f'say history="{MODES[0]}"')
    if max_latency is not None and parse_duration(max_latency) > LONGEST_PROMISE:
        raise DeclarationError(f"max_latency={max_latency!r} promises nothing", fix='give at most "60s", or leave it out')
    for feature in features:
        if not isinstance(feature, Feature):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(
                f"{feature!r} is no feature",
                fix='write source["column"], sky.hour("column"), an expression with .named("..."), or sky.Features',
            )

    def declare(function: Callable[Inputs, Fitted]) -> Model[Inputs, Fitted]:
        return Model(
            function,
            requests=requests,
            label=label,
            features=tuple(features),
            metrics=tuple(metrics or METRICS[task][:1]),
            task=task,
            history=history,
            logbook=logbook,
            max_latency=max_latency,
        )

    return declare
