"""`skyloom train`: training set, fit, package, gates, registry, and the first step of the rollout."""

import os
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from skyloom.delivery.gates import GateEvidence, judge_all
from skyloom.features.offline.dataset import Dataset, build
from skyloom.kernel.errors import Refused, SkyloomError, TrainingError, Transient
from skyloom.kernel.ids import content_id, new_id
from skyloom.kernel.records.definitions import ModelDef, ProjectDef
from skyloom.kernel.records.registry import GateResult, Override, Run, Version
from skyloom.package import load, save
from skyloom.package.tables import score_table
from skyloom.platform import Platform
from skyloom.registry import runs as run_book
from skyloom.registry.champion import champion_of
from skyloom.registry.versions import get_version, register
from skyloom.runtime.admission import budget_refusal, close_abandoned, training_place
from skyloom.runtime.control import release_version
from skyloom.runtime.definitions import Definition, definition, keep
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import applied, model_of
from skyloom.spec.project import load as load_project
from skyloom.training.train import Trained, TrainOptions, train

Stage = Callable[[str, Any], None]


@dataclass(frozen=True)
class Request:
    """What is asked of a training. ``function`` stands in for the declared one; ``override`` lets a version pass its gates
    on a person's word, which is recorded; ``release`` says whether a passing version begins its rollout; ``mode`` stands in
    for the declared ``history``."""

    parameters: dict[str, float | int | str | bool]
    search: bool = False
    function: Callable[..., Any] | None = None
    override: str | None = None
    release: bool = True
    mode: str | None = None


@dataclass(frozen=True)
class Done:
    """What a training made."""

    run: Run
    version: Version
    dataset: Dataset
    trained: Trained


def train_model(
    platform: Platform, name: str, request: Request, *, actor: str, on_stage: Stage = lambda stage, result: None
) -> Done:
    """Train a version, judge it by its gates, register it, and let its rollout begin when they pass.

    ``on_stage`` is told after ``dataset`` (`Dataset`), ``trained`` (`Trained`), ``packaged`` (digest), ``gated`` (results)
    and ``registered`` (`Version`). A run that fails is recorded as failed, with its error. Raises `TrainingError`,
    `PackageError`, `Refused` (the budget, or another training of the model), and whatever the project's declarations raise.
    """
    # OpenMP's threads spin while they wait, which on a machine that also serves costs more than the work itself
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    model = model_of(platform, name)
    with training_place(platform, name):
        close_abandoned(platform, name, actor=actor)
        _admit(platform, model)
        return _run(platform, model, request, actor, on_stage)


def _run(platform: Platform, model: ModelDef, request: Request, actor: str, on_stage: Stage) -> Done:
    project, name = applied(platform.metadata).project, model.name
    run = Run(new_id("run"), name, "running", platform.clock.now_ms(), definition=content_id(model))
    run_book.start(platform.metadata, run, actor=actor)
    used = _cpu_seconds()
    try:
        made = _make(platform, project, model, request, run, on_stage)
        judged = _version(platform, run, made.package, made.gates, _override(platform, request, actor))
        finished, version = _record(platform, definition(model, project), _ended(platform, run, made, used), judged, actor)
    except SkyloomError as error:
        run = msgspec.structs.replace(run, cpu_seconds=_cpu_seconds() - used)
        with suppress(Transient):  # then the next training closes it
            run_book.fail(platform.metadata, run, str(error), platform.clock.now_ms(), actor=actor)
        raise
    on_stage("registered", version)
    if request.release and version.may_serve:
        _release(platform, version, actor)
    return Done(finished, version, made.dataset, made.trained)


def _release(platform: Platform, version: Version, actor: str) -> None:
    try:
        release_version(platform, version, actor=actor)
    except Transient as error:
        raise Transient(
            f"{version.model} v{version.number} is trained and registered, but its rollout did not begin: {error.what}",
            tried=error.tried,
            fix=f"{error.fix}: skyloom promote {version.model} {version.number} --reason REASON",
        ) from error


@dataclass(frozen=True)
class _Made:
    """What a run has made before anything of it is recorded."""

    dataset: Dataset
    trained: Trained
    package: str
    gates: tuple[GateResult, ...]
    commit: str | None


def _make(platform: Platform, project: ProjectDef, model: ModelDef, request: Request, run: Run, on_stage: Stage) -> _Made:
    dataset = _dataset(platform, project, model, request.mode)
    on_stage("dataset", dataset)
    champion = _champion(platform, model.name)
    function = request.function or load_project(platform.directory).function(model.name)
    commit = applied(platform.metadata).commit
    trained = train(dataset.table, model, function, _options(platform, request, dataset, champion, commit))
    on_stage("trained", trained)
    package = _save(platform, project, model, trained, run)
    on_stage("packaged", package)
    gates = judge_all(model.loop.gates, _evidence(platform, model, trained, champion))
    on_stage("gated", gates)
    return _Made(dataset, trained, package, gates, commit)


def _ended(platform: Platform, run: Run, made: _Made, used: float) -> Run:
    return msgspec.structs.replace(
        run,
        parameters=made.trained.parameters,
        metrics=made.trained.metrics,
        data=made.dataset.version,
        split=made.trained.split,
        commit=made.commit,
        cpu_seconds=_cpu_seconds() - used,
        finished_ms=platform.clock.now_ms(),
    )


def _record(platform: Platform, kept: Definition, run: Run, judged: Version, actor: str) -> tuple[Run, Version]:
    """The run's end, its version and its definition: all of them or, in a crash or on a full disk, none."""
    with platform.metadata.transaction(actor) as transaction:
        version = register(transaction, judged)
        ended = msgspec.structs.replace(run, definition=keep(transaction, kept), version=version.number)
        return run_book.finish(transaction, ended), version


def _champion(platform: Platform, model: str) -> Version | None:
    champion = champion_of(platform.metadata, model)
    return None if champion is None else get_version(platform.metadata, model, champion.version)


def _dataset(platform: Platform, project: ProjectDef, model: ModelDef, mode: str | None) -> Dataset:
    settle(platform, project)
    dataset = build(model, project, platform.lake, platform.online, now_ms=platform.clock.now_ms(), mode=mode)
    if dataset.requests == 0 and (mode or model.history) == "as_served":
        raise TrainingError(f"{model.name} has served no request yet", fix=f"skyloom train {model.name} --as as_available")
    if dataset.requests == 0:
        raise TrainingError(f"{model.requests} holds no requests", fix=f"skyloom ingest {model.requests}")
    if len(dataset.table) == 0:
        raise TrainingError(
            f"no request of {model.name} has a label yet",
            tried=f"{dataset.requests:,} requests, {dataset.immature:,} of them too young, labels from {model.label.source}",
            fix=f"skyloom ingest {model.label.source}, or check the label's on= and within=",
        )
    return dataset


def _options(
    platform: Platform, request: Request, dataset: Dataset, champion: Version | None, commit: str | None
) -> TrainOptions:
    seen = None
    if champion is not None:
        split = run_book.get_run(platform.metadata, champion.run).split
        seen = split.last_ms if split else None
    return TrainOptions(
        parameters=request.parameters,
        after_ms=seen,
        search=request.search,
        data=dataset.version,
        commit=commit,
        created_ms=platform.clock.now_ms(),
    )


def _save(platform: Platform, project: ProjectDef, model: ModelDef, trained: Trained, run: Run) -> str:
    groups = {name: content_id(project.groups[name]) for name in model.groups}
    return save(
        platform.objects,
        trained.files,
        model=model.name,
        run=run.id,
        definition=content_id(model),
        groups=groups,
        threshold=trained.threshold,
    )


def _evidence(platform: Platform, model: ModelDef, trained: Trained, champion: Version | None) -> GateEvidence:
    """The same frozen holdout, answered by both packages."""
    holdout = trained.holdout
    theirs = None
    if champion is not None:
        theirs = score_table(load(platform.objects, champion.package).scorer, holdout.table).astype(np.float64)
    columns = [gate.column for gate in model.loop.gates if gate.column is not None]
    slices = {column: [str(value) for value in holdout.table.column(column).to_pylist()] for column in columns}
    return GateEvidence(holdout.labels, holdout.scores, theirs, slices, holdout.latency_ms, model.task)


def _override(platform: Platform, request: Request, actor: str) -> Override | None:
    return Override(actor, platform.clock.now_ms(), request.override) if request.override else None


def _version(
    platform: Platform, run: Run, package: str, gates: tuple[GateResult, ...], override: Override | None
) -> Version:
    passed = all(gate.passed for gate in gates)
    return Version(
        model=run.model,
        number=0,
        run=run.id,
        package=package,
        created_ms=platform.clock.now_ms(),
        gates=gates,
        gated=passed,
        override=None if passed else override,
    )


def _admit(platform: Platform, model: ModelDef) -> None:
    reason = budget_refusal(platform, model)
    if reason:
        raise Refused(f"{model.name} is not trained: {reason}", fix="raise the budget of its loop and type: skyloom apply")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
