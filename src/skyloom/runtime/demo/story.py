"""The story: one model's whole life on real flights, every figure computed while it is told."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from skyloom.delivery.rollout import FINISHED
from skyloom.examples.flights.prepare import days, midnight
from skyloom.features.spaces import position, source_position
from skyloom.ingest.sink import rows_from
from skyloom.kernel.clock import DataClock
from skyloom.kernel.errors import Refused, SkyloomError
from skyloom.kernel.records.prediction import predictions_topic
from skyloom.kernel.records.release import Rollout
from skyloom.kernel.units import DAY
from skyloom.monitoring.outcomes import outcomes_end, read_counts, read_position
from skyloom.platform import Platform, open_platform
from skyloom.runtime.applying import apply
from skyloom.runtime.control import require_rollout
from skyloom.runtime.demo.background import own_memory_mb, running_up
from skyloom.runtime.demo.client import Client
from skyloom.runtime.demo.corruption import corrupted
from skyloom.runtime.demo.figures import tell_labels, tell_replayed, tell_rollout
from skyloom.runtime.demo.learning import shuffled_columns, train_aloud
from skyloom.runtime.demo.replay import Replay, Replayed
from skyloom.runtime.demo.teller import Step, Teller
from skyloom.runtime.ingesting import ingest
from skyloom.runtime.ownership import settle
from skyloom.runtime.receipts import provenance, replay
from skyloom.runtime.skew import check_skew
from skyloom.runtime.state import applied
from skyloom.runtime.training import Request
from skyloom.runtime.up import key_of
from skyloom.spec.project import load as load_project

MODEL, PROFILE = "late_arrival", "demo"
FIRST_DAY = date(2013, 4, 1)
CHAMPION_DAYS = 3
"""Days that the first champion serves before the second version is trained."""
LAST_DAY = 26
"""Days of April that are there to be replayed, if the evidence needs them."""

Say = Callable[[str], None]


@dataclass
class Stage:
    """Where the story is played: the project, the flights still to come, and who serves."""

    platform: Platform
    tell: Teller
    flights: Replay
    client: Client
    start_ms: int


def tell_story(
    directory: Path, say: Say, *, new_project: Callable[[Path], object], stay: Callable[[Platform], None] | None
) -> Teller:
    """Play the whole loop in ``directory`` (a demo of before is removed). ``stay`` is called while everything still runs."""
    tell = Teller(say)
    _clear(directory)
    new_project(directory)
    (directory / _MARK).touch()
    platform = open_platform(directory, PROFILE)
    start_ms, departures, arrivals = _april()
    clock = platform.clock
    assert isinstance(clock, DataClock)
    clock.advance_to(start_ms)
    _apply(platform, tell)
    _ingest(platform, tell)
    with running_up(platform, PROFILE) as ready:  # they start while the first version is trained
        train_aloud(platform, tell, Request({}), "v1")
        running = ready()
        client = Client(running.serving, key_of(platform))
        stage = Stage(platform, tell, Replay(departures, arrivals, clock, _folded(platform)), client, start_ms)
        _serve(stage, running.pid, running.serving)
        _skew(stage)
        _second_version(stage)
        replayed = _broken_version(stage)
        _replay(stage, replayed.last_id)
        if stay:
            stay(platform)
    return tell


_MARK = ".skyloom-demo"
_RELEASED_S = 30.0
_LOGGED_S = 5.0
_JUDGED_S = 5.0
_UNJUDGED = 100
"""How many outcomes the judge may be behind while a rollout is replayed."""


def _clear(directory: Path) -> None:
    if not directory.exists():
        return
    if not (directory / _MARK).exists() and any(directory.iterdir()):
        raise Refused(f"{directory} is there already, and no demo made it", fix="skyloom demo --dir SOMEWHERE-ELSE")
    shutil.rmtree(directory)


def _april() -> tuple[int, pa.Table, pa.Table]:
    departures, arrivals = days(FIRST_DAY, LAST_DAY)
    return round(midnight(FIRST_DAY).timestamp() * 1000), departures, arrivals


def _folded(platform: Platform) -> Callable[[], int]:
    """How far the landings have been folded into the features."""

    def position_now() -> int:
        with platform.online.read() as view:
            return position(view, source_position("arrivals")) or 0

    return position_now


def _apply(platform: Platform, tell: Teller) -> None:
    with tell.step("apply: the declarations are checked and recorded") as step:
        planned, record = apply(platform)
        project = planned.project
        tell.figure(step, "sources", len(project.sources))
        windows = sum(len(group.aggregates) for group in project.groups.values())
        tell.figure(step, "windowed features", windows, f"in {len(project.groups)} groups")
        tell.figure(step, "inputs of the model", len(project.models[MODEL].inputs))
        tell.figure(step, "digest", record.digest[:16])
        tell.figure(step, "git commit", record.commit or "none", "" if record.commit else "the folder is not under git")


def _ingest(platform: Platform, tell: Teller) -> None:
    with tell.step("ingest: January to March into the lake, the contract checked") as step:
        departures = corrupted(platform.directory / "data" / "departures.parquet", platform.clock.now_ms())
        for name, path in (("departures", departures), ("arrivals", None)):
            done = ingest(platform, name, path)
            tell.figure(step, name, done.accepted, f"of {done.rows:,} rows accepted")
            if done.rejected:
                tell.figure(step, f"{name} in quarantine", done.rejected, "corrupted on purpose by the demo")
                tell.table(["rows", "reason"], [[str(count), reason] for reason, count in sorted(done.reasons.items())])
        version = platform.lake.version("events/arrivals")
        tell.figure(step, "lake version of arrivals", version or 0)


def _serve(stage: Stage, pid: int, address: str) -> None:
    tell = stage.tell
    with tell.step(f"serve: the first {CHAMPION_DAYS} days of April, in order, over HTTP") as step:
        tell.figure(step, "address", address)
        _until_released(stage.client)
        replayed = stage.flights.run(stage.client, stage.start_ms + CHAMPION_DAYS * DAY)
        tell_replayed(tell, step, replayed)
        _until_logged(stage.platform, replayed.requests)
        settle(stage.platform, applied(stage.platform.metadata).project)
        tell_labels(stage.platform, tell, step)
        tell.figure(step, "memory of skyloom up", round(own_memory_mb(pid)), "MB, all processes together")


def _until_released(client: Client) -> None:
    """Serving takes a release over a moment after it was signed: it compiles and tries before it answers."""
    deadline = time.monotonic() + _RELEASED_S
    while not client.ready(f"/v2/models/{MODEL}/ready") and time.monotonic() < deadline:
        time.sleep(0.02)


def _until_logged(platform: Platform, requests: int) -> None:
    """Receipts reach the log, and the join, a moment after their answers: wait until that of the last answer is there."""
    deadline = time.monotonic() + _LOGGED_S
    while _joined(platform) < requests and time.monotonic() < deadline:
        time.sleep(0.01)


def _joined(platform: Platform) -> int:
    with platform.online.read() as view:
        return read_counts(view, MODEL).served


def _skew(stage: Stage) -> None:
    with stage.tell.step("zero skew: every served feature computed again from the lake, compared with ==") as step:
        skew = check_skew(stage.platform, MODEL)
        stage.tell.figure(step, "predictions", skew.predictions)
        note = f"{skew.values:,} compared, {len(skew.differences):,} different"
        stage.tell.figure(step, "values", note)
        if skew.differences or not skew.values:
            worst = "; ".join(f"{d.receipt} {d.input}: {d.served!r}, {d.recomputed!r}" for d in skew.differences[:3])
            raise SkyloomError(f"the demo has found skew: {note}", tried=worst, fix="report this, with the folder")


def _second_version(stage: Stage) -> None:
    done = train_aloud(stage.platform, stage.tell, Request({}), "v2, on what has arrived")
    if not done.version.may_serve:
        return  # rejected by the evidence of its gates: the table above says why
    with stage.tell.step("v2: shadow, then canary by sticky hash, judged by the sequential test") as step:
        _until_judged(stage, step, FINISHED | {"held"})


def _broken_version(stage: Stage) -> Replayed:
    broken = shuffled_columns(load_project(stage.platform.directory).function(MODEL))
    request = Request({}, function=broken, override="the demo wants to see a bad release undo itself")
    train_aloud(stage.platform, stage.tell, request, "v3, broken on purpose: fitted on shuffled columns")
    with stage.tell.step("v3: on canary although its gates refused it; nobody watches but the judge") as step:
        replayed = _until_judged(stage, step, FINISHED)
        rollout = require_rollout(stage.platform, MODEL)
        if rollout.state != "rolled_back":
            raise SkyloomError(f"the broken version was not rolled back: {rollout.state}", tried=rollout.reason)
        seen, note = (
            rollout.shadow_units + rollout.requests,
            f"by the judge alone; v3 answered {rollout.units_canary:,} of them",
        )
        stage.tell.figure(step, "rolled back after", seen, f"requests since its release, {note}")
    return replayed


def _until_judged(stage: Stage, step: Step, ends: frozenset[str]) -> Replayed:
    """Replay until the rollout has come to one of the states ``ends``, or the flights to theirs."""
    tell, platform = stage.tell, stage.platform
    seen: list[tuple[str, int]] = []

    def ended() -> bool:
        rollout = _kept_pace(platform)
        if (rollout.state, rollout.stage) not in seen:
            seen.append((rollout.state, rollout.stage))
        return rollout.state in ends

    replayed = stage.flights.run(stage.client, stage.start_ms + LAST_DAY * DAY, ended)
    tell_replayed(tell, step, replayed)
    tell_rollout(platform, tell, step, seen)
    return replayed


def _kept_pace(platform: Platform) -> Rollout:
    """The rollout, once the judge is close behind the flights: a moment of its work would be hours for them."""
    deadline, topic = time.monotonic() + _JUDGED_S, predictions_topic(MODEL)
    while True:
        rollout = require_rollout(platform, MODEL)
        with platform.online.read() as view:
            unjudged = outcomes_end(view, MODEL) - rollout.position
            unjoined = rows_from(platform.log, topic, read_position(view, topic))
        if unjudged + unjoined <= _UNJUDGED or rollout.state in FINISHED or time.monotonic() > deadline:
            return rollout
        time.sleep(0.002)


def _replay(stage: Stage, id: str) -> None:
    tell = stage.tell
    with tell.step("receipt and replay of one prediction") as step:
        settle(stage.platform, applied(stage.platform.metadata).project)
        found = provenance(stage.platform, id)
        receipt = found.receipt
        tell.figure(step, "prediction", id)
        tell.figure(step, "made by", f"{receipt.model} v{receipt.version}, release {receipt.release[:12]}")
        tell.figure(step, "run", found.run.id)
        if found.data:
            tell.figure(step, "trained on", f"{found.data.table} version {found.data.version}")
        again = replay(stage.platform, id)
        tell.figure(step, "served", repr(again.served))
        tell.figure(step, "replayed", repr(again.replayed))
        if not (again.score_equal and again.features_equal):
            raise SkyloomError("the prediction is not the same again", tried=repr(again.differences))
        tell.figure(step, "the same again", True)
