"""`kill -9` of any process of `skyloom up`, while requests and events flow."""

import os
import signal
from collections import Counter
from collections.abc import Callable

from tests.journeys.journey import Project, Up, alive, until
from tests.journeys.traffic import Traffic

from skyloom.kernel.records.release import Rollout
from skyloom.monitoring.outcomes import read_counts
from skyloom.runtime.control import reconcile
from skyloom.runtime.skew import check_skew
from skyloom.runtime.state import read

CHILDREN = ("runtime.serve", "runtime.work", "runtime.schedule", "api.main")


def test_a_kill_of_any_process_loses_nothing_acknowledged(trained: Project, launch: Callable[..., Up]) -> None:
    project = trained
    up = launch(project)
    first = Traffic(up, "first")
    flows(first)
    trained_beside = project.json("train", "late")
    assert trained_beside["version"]["number"] == 2
    for name in CHILDREN:
        kill_child(up, name)
        flows(first)
    pids = [up.pid, *up.children().values()]
    os.kill(up.pid, signal.SIGKILL)
    until(lambda: not any(map(alive, pids)), "children outlive a killed supervisor")
    first.stop()

    up = launch(project)
    second = Traffic(up, "second")
    flows(second)
    second.stop()
    assert up.end() == 0
    skew = check_skew(project.platform, "late")  # brings what is in the log into the lake first
    assert skew.differences == ()
    assert skew.predictions >= len(second.answered)
    every_event_is_in_once(project, first.reported + second.reported)
    every_answer_has_its_receipt_once(project, [*first.answered.values(), *second.answered.values()])
    every_label_has_met_its_prediction_once(project)
    rollout_is_consistent(project)


def flows(traffic: Traffic) -> None:
    """Some more requests are answered and some more events taken."""
    answered, reported = len(traffic.answered) + 20, len(traffic.reported) + 20
    until(lambda: len(traffic.answered) >= answered and len(traffic.reported) >= reported)


def kill_child(up: Up, name: str) -> None:
    """Kill a process; return when another has taken its place and is ready."""
    killed = until(lambda: up.children().get(name), f"{name} does not run")
    os.kill(killed, signal.SIGKILL)
    fresh = until(lambda: (now := up.children().get(name)) != killed and now, f"{name} is not started again")
    until(lambda: f"ready (process {fresh})" in up.said(), f"{name} is not ready again")


def every_event_is_in_once(project: Project, acknowledged: list[str]) -> None:
    """Also those that came again because their acknowledgement was lost on the way."""
    counts = Counter(row["order_id"] for row in project.lake("events/deliveries"))
    assert [id for id in acknowledged if counts[id] != 1] == []
    assert [id for id, count in counts.items() if count > 1] == []


def every_answer_has_its_receipt_once(project: Project, ids: list[str]) -> None:
    """Also the last answers before a kill of the process that gave them."""
    counts = Counter(row["id"] for row in project.lake("predictions/late"))
    assert [id for id in ids if counts[id] != 1] == []
    assert [id for id, count in counts.items() if count > 1] == []


def every_label_has_met_its_prediction_once(project: Project) -> None:
    """The receipts in the lake (shadows too), and those of them whose delivery is there, are what was counted."""
    receipts = project.lake("predictions/late")
    delivered = {row["order_id"] for row in project.lake("events/deliveries")}
    with project.platform.online.read() as view:
        counts = read_counts(view, "late")
    assert counts.served == len(receipts)
    assert counts.labelled == sum(row["key"] in delivered for row in receipts)


def rollout_is_consistent(project: Project) -> None:
    """v2 is still in its shadow, and the release says what the records say: there is nothing to publish anew."""
    rollout = read(project.platform.metadata, "rollout", "late", Rollout)
    assert rollout is not None
    assert (rollout.state, rollout.champion, rollout.challenger) == ("shadow", 1, 2)
    assert reconcile(project.platform, actor="test") is False
