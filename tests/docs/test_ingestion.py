"""The page about ingestion, typed by a reader: its project, its commands, its program."""

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journeys.journey import COMMAND, Project, until

PAGE = (Path(__file__).parents[2] / "docs" / "ingestion.md").read_text()
CHANGES = "create table card_changes (id integer, since text, card text, tier text)"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def typed(console: str, address: str = "localhost:8080") -> str:
    """The commands of a block as a script."""
    lines = [line.removeprefix("$ ") for line in console.splitlines()]
    script = "\n".join(["set -eu", *lines]).replace("localhost:8080", address)
    return re.sub(r"^skyloom ", f"{COMMAND} ", script, flags=re.MULTILINE)


def said(script: str, directory: Path) -> str:
    done = subprocess.run(["bash", "-c", script], cwd=directory, timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    """The project of the page, with its files and its database."""
    (tmp_path / "shop.py").write_text(blocks("py")[0])
    (tmp_path / "skyloom.toml").write_text("[free]\nserving = { port = 0 }\napi = { port = 0 }\n")
    (tmp_path / "data" / "more").mkdir(parents=True)
    (tmp_path / "data" / "payments.csv").write_text(
        "id,at,card,amount,note\np1,2025-03-01T10:00:00Z,c7,20,x\np2,2025-03-01T11:00:00Z,c7,many,y\n"
    )
    rows = [{"id": f"p{n}", "at": "2025-03-01T12:00:00Z", "card": "c7", "amount": 4, "note": "z"} for n in (1, 3)]
    (tmp_path / "data" / "more" / "a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute(CHANGES)
        database.executemany(
            "insert into card_changes values (?, ?, ?, ?)",
            [(1, "2025-01-01T00:00:00Z", "c7", "plain"), (2, "2025-02-01T00:00:00Z", "c7", "gold")],
        )
    database.close()
    return Project(tmp_path)


@pytest.mark.xdist_group("readme")
def test_the_page_as_a_reader_types_it(shop: Project) -> None:
    files, databases, http = blocks("console")
    told = said(typed(files), shop.directory)
    assert "payments: 1 of 2 rows accepted" in told
    assert "amount: 'many' is not a number" in told
    assert "payments: 2 of 2 rows accepted" in told
    assert {row["id"]: row["amount"] for row in shop.lake("events/payments")} == {"p1": 20.0, "p3": 4.0}
    told = said(typed(databases), shop.directory)
    assert "changes: 2 of 2 rows accepted" in told
    assert "changes: 0 of 0 rows accepted" in told
    assert re.search(r"^c7 +gold$", told, re.MULTILINE)
    _over_http(shop, http, blocks("py")[1])


def _over_http(shop: Project, http: str, program: str) -> None:
    with subprocess.Popen(
        [COMMAND, "up", "--profile", "free"], cwd=shop.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as up:
        assert up.stdout is not None
        try:
            lines = iter(up.stdout.readline, "")
            address = next(found[1] for line in lines if (found := re.search(r"^events\s+http://([0-9.:]+)/", line)))
            decoder, answers = json.JSONDecoder(), said(typed(http, address), shop.directory)
            one, end = decoder.raw_decode(answers)
            many = json.loads(answers[end:])
            assert (one["accepted"], one["rejected"]) == (1, [])
            [shown] = blocks("json")
            assert many == {**json.loads(shown), "first_offset": one["first_offset"] + 1}
            (shop.directory / "send.py").write_text(program.replace("localhost:8080", address))
            sent = subprocess.run(
                [sys.executable, "send.py"], cwd=shop.directory, capture_output=True, check=True, timeout=60
            )
            assert json.loads(sent.stdout)["accepted"] == 1000
            until(lambda: len(shop.lake("events/payments")) == 2 + 2 + 1000)
        finally:
            up.terminate()
        assert up.wait(60) == 0
