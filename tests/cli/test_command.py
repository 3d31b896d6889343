"""The installed command, as a user types it."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from skyloom.cli import train
from skyloom.cli.main import main

SKYLOOM = Path(sys.executable).parent / "skyloom"


def skyloom(*words: str, cwd: Path | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SKYLOOM, *words], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def on_terminal(*words: str, cwd: Path, **environment: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [SKYLOOM, *words], cwd=cwd, env={**os.environ, "TERM": "xterm", **environment}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        text += part
    process.wait()
    os.close(ours)
    return text.decode()


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(words: tuple[str, ...]):
    ended = skyloom(*words)
    assert ended.returncode == 0
    assert {"new", "doctor", "keys"} <= set(re.findall(r"^  (\w+)  ", ended.stdout, re.MULTILINE))
    assert not ended.stderr


def test_help_loads_nothing_heavy():
    code = "import sys; from skyloom.cli.main import help_text; help_text(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"typer", "rich", "numpy", "pyarrow", "pandas", "duckdb"} & set(loaded)


def test_every_listed_command_has_help_that_names_json():
    from skyloom.cli.main import COMMANDS

    for name in COMMANDS:
        ended = skyloom(name, "--help")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert f"skyloom {name}" in ended.stdout


def test_version():
    assert re.fullmatch(r"skyloom \d+\.\d+\.\d+\n", skyloom("--version").stdout)


def test_wrong_usage_exits_2_and_says_what_to_type(tmp_path: Path):
    ended = skyloom("docter", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: there is no command 'docter'\n  next:  skyloom doctor\n"
    ended = skyloom("keys", "create", "--scoop", "x", cwd=tmp_path)
    assert ended.returncode == 2
    assert "--scoop" in ended.stderr
    assert ended.stderr.endswith("  next:  skyloom keys --help\n")
    assert skyloom("--nonsense").returncode == 2


def test_errors_are_json_when_asked_for(tmp_path: Path):
    for words in (("new", "x", "--example", "nothing"), ("keys", "create"), ("nonsense",)):
        ended = skyloom(*words, "--json", cwd=tmp_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert json.loads(ended.stderr).keys() == {"error", "tried", "next"}


def test_new_makes_a_project_that_loads(tmp_path: Path):
    ended = skyloom("new", "shop/mine", "--example", "churn", "--json", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    project = tmp_path / "shop" / "mine"
    told = json.loads(ended.stdout)
    made = {str(path.relative_to(project)): path.stat().st_size for path in project.rglob("*") if path.is_file()}
    assert told == {"directory": str(project), "example": "churn", "files": made}
    data = {f"data/{name}.parquet" for name in ("renewals", "visits", "decisions")}
    assert made.keys() == data | {"churn.py", "skyloom.toml", "README.md", ".gitignore"}
    assert os.listdir(tmp_path / "shop") == ["mine"]
    code = "import sys, pathlib; from skyloom.spec.project import load; print(*load(pathlib.Path(sys.argv[1])).models)"
    assert (
        subprocess.run([sys.executable, "-c", code, project], capture_output=True, text=True, check=True).stdout == "churn\n"
    )


def test_new_goes_into_an_empty_directory_and_refuses_another(tmp_path: Path):
    project = tmp_path / "mine"
    project.mkdir(mode=0o750)
    assert skyloom("new", ".", "--example", "churn", cwd=project).returncode == 0
    assert (project / "churn.py").exists()
    assert project.stat().st_mode & 0o777 == 0o750
    (project / "churn.py").write_text("mine now")
    for words in (("new", "mine", "--example", "churn"), ("new", "mine/churn.py", "--example", "churn")):
        ended = skyloom(*words, cwd=tmp_path)
        assert ended.returncode == 1
        assert "is there already" in ended.stderr
    assert (project / "churn.py").read_text() == "mine now"


def test_an_example_that_is_not_there_lists_those_that_are(tmp_path: Path):
    ended = skyloom("new", "x", "--example", "fraud", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == "error: there is no example 'fraud'\n  next:  one of: churn, flights\n"
    assert not (tmp_path / "x").exists()


def test_a_preparation_that_fails_leaves_nothing(tmp_path: Path):
    """Files may grow to 4 KiB only: the data cannot be written, as on a full disk."""
    script = f"ulimit -f 4; trap '' XFSZ; exec {SKYLOOM} new mine --example churn"
    ended = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert not os.listdir(tmp_path)


def test_doctor_finds_this_machine_healthy(tmp_path: Path):
    ended = skyloom("doctor", "--json", cwd=tmp_path)
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["healthy"]) == (0, True), report
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert {"python", "cores", "memory", "disk", "project folder", "port 8080", "port 7070", "lightgbm"} <= states.keys()
    assert states["onnxruntime"] == "ok"


def test_doctor_names_a_broken_project_and_exits_1(tmp_path: Path):
    (tmp_path / "skyloom.toml").write_text("[local]\nlak = 1\n")
    ended = skyloom("doctor", cwd=tmp_path)
    assert ended.returncode == 1
    assert re.search(r"^skyloom.toml +missing", ended.stdout, re.MULTILINE)
    assert "\x1b" not in ended.stdout


def test_doctor_checks_the_audit_log_of_a_project(tmp_path: Path):
    assert skyloom("keys", "create", "--scope", "read", cwd=tmp_path).returncode == 0
    told = skyloom("doctor", cwd=tmp_path).stdout
    assert re.search(r"^audit log +ok +1 change, chained", told, re.MULTILINE), told
    forged = apsw.Connection(str(tmp_path / ".skyloom" / "metadata.db"))
    forged.execute("update change set actor = 'nobody'")
    forged.close()
    ended = skyloom("doctor", cwd=tmp_path)
    assert ended.returncode == 1
    assert re.search(r"^audit log +missing +line 1 was changed", ended.stdout, re.MULTILINE), ended.stdout


def test_tables_on_a_terminal_are_rich_unless_colour_is_unwanted(tmp_path: Path):
    assert "\x1b[1m" in on_terminal("keys", "list", cwd=tmp_path)
    assert not re.search(r"\x1b\[[0-9;]*3\dm", on_terminal("keys", "list", cwd=tmp_path, NO_COLOR="1"))


def test_a_closed_pipe_is_no_traceback(tmp_path: Path):
    ended = subprocess.run(
        ["bash", "-c", f"{SKYLOOM} keys list | :"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stderr


def test_a_broken_connection_is_an_error_with_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def runs() -> None:
        raise BrokenPipeError(32, "the other side has gone")

    monkeypatch.setattr(train, "runs", runs)
    assert main(["runs"]) == 1
    assert "the other side has gone" in capsys.readouterr().err
