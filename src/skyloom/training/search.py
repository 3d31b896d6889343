"""Looks for better parameters on an inner, time-ordered split of the training part."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from skyloom.kernel.errors import TrainingError
from skyloom.kernel.records.definitions import SearchDef
from skyloom.package.signature import Signature
from skyloom.training.fit import Parameter, fit
from skyloom.training.metrics import MORE_IS_BETTER, metric_named
from skyloom.training.predict import predict
from skyloom.training.split import check_labels, split_rows


class Trial(msgspec.Struct, frozen=True):
    """One try: its parameters and the metric on the inner holdout, or why it failed."""

    number: int
    parameters: dict[str, Parameter]
    value: float | None
    error: str | None
    seconds: float


class Found(msgspec.Struct, frozen=True):
    """The best parameters and all trials, in order."""

    parameters: dict[str, Parameter]
    metric: str
    trials: tuple[Trial, ...]


class Sample(msgspec.Struct, frozen=True):
    """What is learned from: X, y and the rows' moments (milliseconds, ascending)."""

    X: Any
    y: Any
    times: Any


def search(
    function: Callable[..., Any],
    sample: Sample,
    signature: Signature,
    space: SearchDef,
    metric: str,
    *,
    first: Mapping[str, Parameter],
    seed: int = 0,
) -> Found:
    """Try ``space.trials`` sets of parameters: ``first``, then what a tree-structured Parzen estimator asks for.

    The estimator is Optuna's (Bergstra et al. 2011), seeded. A trial that fails is recorded and the search goes on;
    `TrainingError` when all of them fail, or when the rows cannot be split once more.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    split = split_rows(np.asarray(sample.times))
    check_labels(sample.y, split, signature.task)
    judge = metric_named(metric, signature.task)
    direction = "maximize" if metric in MORE_IS_BETTER else "minimize"
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), direction=direction)
    study.enqueue_trial({name: value for name, value in first.items() if name in space.space})
    trials: list[Trial] = []
    for number in range(space.trials):
        asked = study.ask(_distributions(space))
        trial = _try(function, sample, split.train_rows, signature, judge, (number, asked.params))
        trials.append(trial)
        failed = optuna.trial.TrialState.FAIL if trial.value is None else None
        study.tell(asked, trial.value, state=failed)
    _check(trials)
    best = study.best_trial
    return Found(dict(best.params), metric, tuple(trials))


def _distributions(space: SearchDef) -> dict[str, Any]:
    from optuna.distributions import FloatDistribution, IntDistribution

    made: dict[str, Any] = {}
    for name, (low, high, scale, integer) in space.space.items():
        log = scale == "log"
        made[name] = IntDistribution(int(low), int(high), log=log) if integer else FloatDistribution(low, high, log=log)
    return made


def _try(
    function: Callable[..., Any],
    sample: Sample,
    cut: int,
    signature: Signature,
    judge: Callable[[Any, Any], float],
    asked: tuple[int, Mapping[str, Parameter]],
) -> Trial:
    number, parameters = asked
    started = time.perf_counter()
    value, error = None, None
    try:
        model = fit(function, sample.X.iloc[:cut], sample.y.iloc[:cut], parameters)
        scores = predict(model, sample.X.iloc[cut:], signature)
        value = judge(sample.y.iloc[cut:].to_numpy(np.float64), scores)
        value, error = (value, None) if math.isfinite(value) else (None, f"the metric is {value}")
    except Exception as failure:  # noqa: BLE001  # the user's model may fail at predicting in any way
        value, error = None, str(failure)
    return Trial(number, dict(parameters), value, error, time.perf_counter() - started)


def _check(trials: list[Trial]) -> None:
    if all(trial.value is None for trial in trials):
        raise TrainingError(f"all {len(trials)} trials of the search failed", tried=str(trials[-1].error))
