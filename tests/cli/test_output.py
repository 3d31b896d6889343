import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.cli import output
from skyloom.cli.output import Out, shown


class Point(msgspec.Struct):
    x: float
    path: Path


def test_in_json_mode_only_the_document_is_printed(capsys: pytest.CaptureFixture[str]):
    out = Out(json=True)
    out.line("text")
    out.fields({"a": 1})
    out.table(["a"], [[1]])
    with out.progress("work", 3) as progress:
        progress.advance()
    out.document([Point(float("nan"), Path("/x")), Point(0.1, Path("y"))])
    told = capsys.readouterr()
    assert json.loads(told.out) == [{"x": None, "path": "/x"}, {"x": 0.1, "path": "y"}]
    assert told.err == ""


def test_for_people_there_is_no_document(capsys: pytest.CaptureFixture[str]):
    out = Out()
    out.document({"a": 1})
    out.fields({"name": "x", "a longer name": None})
    assert capsys.readouterr().out == "name           x\na longer name  -\n"


@given(st.lists(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), min_size=3, max_size=3), min_size=1))
def test_columns_of_a_plain_table_start_at_the_same_place(rows: list[list[str]]):
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as text:
        Out().table(["a", "b", "c"], rows)
    lines = text.getvalue().splitlines()
    assert [line.split() for line in lines] == [["a", "b", "c"], *rows]
    assert len({line.index(row[1], len(row[0])) for line, row in zip(lines[1:], rows, strict=True)}) == 1


def test_progress_elsewhere_than_on_a_terminal_is_a_line_each_tenth(capsys: pytest.CaptureFixture[str]):
    with Out().progress("trials", 40) as progress:
        for _ in range(40):
            progress.advance()
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("trials: 4 of 40", "trials: 40 of 40", 10)
    assert told.out == ""


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (1e-9, "1e-09"), (False, "no"), (-1234, "-1,234")])
def test_values_as_people_read_them(value: float, text: str):
    assert shown(value) == text


@pytest.mark.parametrize("said", ["Out().line('ready')", "Out(json=True).document('ready')"])
def test_what_is_said_reaches_a_pipe_at_once(said: str):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    code = f"import os; from skyloom.cli.output import Out; {said}; os._exit(0)"  # such an end writes nothing that waits
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "ready" in done.stdout


def test_progress_goes_on_and_tells_its_pace(capsys: pytest.CaptureFixture[str]):
    with Out().progress("rows", 1_000, done=500, unit="rows") as progress:
        for _ in range(5):
            progress.advance(100)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert re.fullmatch(r"rows: 600 of 1,000, [\d,]+ rows/s, .+ left", lines[0])
    assert re.fullmatch(r"rows: 1,000 of 1,000, [\d,]+ rows/s", lines[-1])


def test_a_bar_tells_its_pace(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output, "_is_terminal", lambda _: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    for total in (1_000, 0):
        with Out().progress("scoring [a].csv", total, done=400, unit="rows") as progress:
            for _ in range(6):
                progress.advance(100)
        shown = capsys.readouterr().err
        assert "scoring [a].csv" in shown
        assert "rows/s" in shown
