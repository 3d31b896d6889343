"""`skyloom erase`: a subject is in no table, no feature, no training set any more; what was served is still explained."""

import os
import pty
import subprocess
from collections.abc import Callable
from typing import Any

from tests.journeys import shop
from tests.journeys.journey import COMMAND, Project, Up, now_ms, until

from skyloom.notebook import dataset

VICTIM, OTHER = "shop3", "shop0"


def test_a_subject_is_erased_beside_a_running_project(trained: Project, launch: Callable[..., Up]) -> None:
    learned = dataset("late", trained.directory)
    was, others = value_of(trained, VICTIM), value_of(trained, OTHER)
    ids = {row["order_id"] for row in trained.lake("events/orders") if row["shop"] == VICTIM}
    assert was[0][3] > 0
    assert ids & set(learned["key"])
    up = launch(trained)
    for name in (VICTIM, OTHER):
        assert predicted(up, f"before-{name}", name)
    late = {"order_id": "late", "delivered": 5, "shop": VICTIM, "delay": "long"}
    assert up.serving.post("/events/deliveries", late)[0] == 400
    until(lambda: trained.json("features", "check")["skew"]["late"]["predictions"] == 2)

    done = trained.json("erase", "deliveries", "--where", f"shop={VICTIM}", "--yes")
    assert done["rows"] == {"events/deliveries": len(ids), "deadletter/deliveries": 0, "quarantine/deliveries": 1}
    assert (done["column"], done["values"], done["groups"]) == ("shop", [VICTIM], ["recent"])
    assert trained.json("erase", "orders", "--where", f"shop={VICTIM}", "--yes")["rows"]["events/orders"] == len(ids)
    assert not [row for row in trained.lake("events/deliveries") if row["shop"] == VICTIM]
    assert not [row for row in trained.lake("quarantine/deliveries") if VICTIM in row["row"]]
    assert value_of(trained, VICTIM) == [[VICTIM, None, None, 0.0]]
    assert value_of(trained, OTHER) == others
    after = dataset("late", trained.directory)
    assert set(after["key"]) == set(learned["key"]) - ids
    assert set(after["key"])
    assert predicted(up, "after", VICTIM)
    until(lambda: trained.json("features", "check")["skew"]["late"]["predictions"] == 3)
    assert trained.json("features", "check")["incidents"] == []
    assert trained.json("erase", "orders", "--where", f"shop={VICTIM}", "--yes")["rows"]["events/orders"] == 0
    assert up.end() == 0


def test_one_event_is_erased_by_its_key_and_the_person_is_asked(trained: Project) -> None:
    there = len(trained.lake("events/orders"))
    refusal = trained.refused("erase", "orders", "--key", "o5", code=2)
    assert "1 event would go for good" in refusal.error
    assert refusal.next == "the same command with --yes"
    assert "nothing was erased" in asked(trained, "n")
    assert len(trained.lake("events/orders")) == there
    said = asked(trained, "y")
    assert "1 event of orders have order_id = o5" in said
    assert "receipts and outcomes of predictions" in said
    assert {row["order_id"] for row in trained.lake("events/orders")} == {f"o{n}" for n in range(shop.ORDERS)} - {"o5"}


def test_what_names_nothing_is_refused_with_what_could_be(trained: Project) -> None:
    assert "did you mean orders" in trained.refused("erase", "order", "--key", "o5").next
    assert "did you mean shop" in trained.refused("erase", "orders", "--where", "shops=shop1").next
    assert "by none" in trained.refused("erase", "orders", "--yes", code=2).error
    assert "names no events" in trained.refused("erase", "orders", "--where", "shop", code=2).error
    both = trained.refused("erase", "orders", "--where", "shop=a", "--key", "o5", code=2)
    assert "by shop and order_id" in both.error
    assert "is a float: it cannot name" in trained.refused("erase", "orders", "--where", "amount=1").error


def value_of(project: Project, name: str) -> Any:
    """The features of a shop at one moment, from the lake."""
    return project.json("features", "preview", "recent", "--entity", name, "--at", "2025-01-20T00:00Z")["rows"]


def predicted(up: Up, id: str, name: str) -> Any:
    status, answer = up.serving.post("/predict/late", {"order_id": id, "placed": now_ms(), "shop": name, "amount": 9.0})
    assert status == 200, answer
    return answer["id"]


def asked(project: Project, answer: str) -> str:
    """What the command says on a terminal where somebody types ``answer``."""
    ours, theirs = pty.openpty()
    words = [COMMAND, "erase", "orders", "--key", "o5"]
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        words, cwd=project.directory, stdin=theirs, capture_output=True, text=True, timeout=120, check=False
    )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == (0 if answer == "y" else 1), done
    return done.stdout + done.stderr
