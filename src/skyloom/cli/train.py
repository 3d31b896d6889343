"""``skyloom train``, ``runs`` and ``models``: train, list, compare."""

from typing import Annotated, Any

import typer

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Cell, Out, moment
from skyloom.kernel.errors import Refused, UsageError

ModelArgument = Annotated[str, typer.Argument(help="The model's name in the project.")]


def train(
    model: ModelArgument,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A parameter, as name=value. Repeatable.")] = None,
    search: Annotated[bool, typer.Option("--search", help="Search the declared space for the best parameters.")] = False,
    override: Annotated[
        str | None, typer.Option("--override", help="Let the version pass its gates on your word: the reason, recorded.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--as", help="What requests see: as_available, as_served or as_event, if not as declared.")
    ] = None,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Train a version, judge it by its gates, and let its rollout begin when they pass."""
    from skyloom.platform import open_platform
    from skyloom.runtime.state import actor
    from skyloom.runtime.training import Request, train_model

    out = Out(json=json)
    platform = open_platform(profile=profile)
    request = Request(_parameters(set_ or []), search=search, override=override, mode=mode)
    with out.progress(f"training {model}", 5) as progress:

        def on_stage(stage: str, result: Any) -> None:
            progress.advance()

        done = train_model(platform, model, request, actor=actor(), on_stage=on_stage)
    version = done.version
    out.line(f"{model} v{version.number}: {len(done.dataset.table):,} labelled rows, run {done.run.id}")
    out.table(["metric", "value"], [[name, value] for name, value in done.trained.metrics.items()])
    out.table(["gate", "passed", "measured", "limit", "reason"], [_row(gate) for gate in version.gates])
    out.line(_fate(model, version))
    out.document({"run": done.run, "version": version})
    if not version.may_serve:
        raise Refused(
            f"{model} v{version.number} did not pass its gates and will not serve",
            tried="; ".join(gate.reason for gate in version.gates if not gate.passed),
            fix=f"train it better, or say: skyloom promote {model} {version.number} --override --reason TEXT",
        )


def runs(
    model: Annotated[str | None, typer.Argument(help="Only the runs of this model.")] = None,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """List the training runs, newest last."""
    from skyloom.platform import open_platform
    from skyloom.registry.runs import list_runs

    out = Out(json=json)
    found = list_runs(open_platform(profile=profile).metadata, model)
    names = sorted({name for run in found for name in run.metrics})[:4]
    rows: list[list[Cell]] = [
        [run.id, run.model, run.status, moment(run.started_ms), run.version, *(run.metrics.get(name) for name in names)]
        for run in found
    ]
    out.table(["run", "model", "status", "started", "version", *names], rows)
    out.document(found)


def models(profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """List the models with their versions, and who serves."""
    from skyloom.platform import open_platform
    from skyloom.registry.champion import champion_of
    from skyloom.registry.versions import list_versions
    from skyloom.runtime.state import applied

    out = Out(json=json)
    metadata = open_platform(profile=profile).metadata
    rows: list[list[Cell]] = []
    listed: list[dict[str, object]] = []
    for name in applied(metadata).project.models:
        champion = champion_of(metadata, name)
        for version in list_versions(metadata, name):
            serves = champion is not None and champion.version == version.number
            gates = "passed" if version.gated else "overridden" if version.override else "failed"
            rows.append([name, version.number, moment(version.created_ms), gates, "champion" if serves else ""])
            listed.append({"version": version, "champion": serves})
        if champion is None:
            out.line(f"{name}: nothing serves yet")
    out.table(["model", "version", "trained", "gates", "role"], rows)
    out.document(listed)


def _row(gate: Any) -> list[Cell]:
    return [gate.gate, gate.passed, gate.measured, gate.limit, gate.reason]


def _fate(model: str, version: Any) -> str:
    if version.gated:
        return f"{model} v{version.number} passed its gates: see skyloom rollout {model}"
    if version.override:
        return f"{model} v{version.number} may serve on the word of {version.override.by}: {version.override.reason}"
    return f"{model} v{version.number} did not pass its gates"


def _parameters(settings: list[str]) -> dict[str, float | int | str | bool]:
    return dict(_parameter(setting) for setting in settings)


def _parameter(setting: str) -> tuple[str, float | int | str | bool]:
    name, equals, text = setting.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"{setting!r} sets nothing", fix="write it as --set learning_rate=0.1")
    for read in (int, float):
        try:
            return name, read(text)
        except ValueError:
            continue
    return name, {"true": True, "false": False}.get(text.lower(), text)
