"""What the README says to type, typed."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKYLOOM = ROOT / ".venv" / "bin" / "skyloom"
BLOCKS = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
DEADLINE_S = 60.0


def commands(block: str) -> list[str]:
    """The commands of a block; a line that does not begin with ``$`` goes on with the one before."""
    return [command.strip() for command in re.split(r"^\$ ", block, flags=re.MULTILINE) if command.strip()]


@pytest.mark.xdist_group("readme")
def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    by_hand, while_up = (commands(block) for block in BLOCKS)
    assert by_hand[-1] == "skyloom up"
    script = "\n".join(["set -eu", *by_hand[:-1]]).replace("skyloom ", f"{SKYLOOM} ")
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, timeout=240, capture_output=True)
    project = tmp_path / "late"
    with (project / "skyloom.toml").open("a") as settings:
        settings.write("\n[free]\nserving = { port = 0 }\napi = { port = 0 }\n")
    with subprocess.Popen([SKYLOOM, "up", "--profile", "free"], cwd=project, stdout=subprocess.PIPE, text=True) as up:
        try:
            _say_what_the_readme_says(project, while_up, _address(up))
        finally:
            up.terminate()
        assert up.wait(DEADLINE_S) == 0


def _address(up: "subprocess.Popen[str]") -> str:
    assert up.stdout is not None
    deadline, said = time.monotonic() + DEADLINE_S, ""
    while time.monotonic() < deadline and "ready" not in said:
        said += up.stdout.readline()
    found = re.search(r"serving\s+http://([0-9.:]+)/", said)
    assert found, said
    return found[1]


def _say_what_the_readme_says(project: Path, lines: list[str], address: str) -> None:
    key, predict, event, receipt, replay = lines
    run = f"set -eu\n{key}\n{predict}\necho\n{event}\n".replace("localhost:8080", address)
    said = subprocess.run(["bash", "-c", run], cwd=project, check=True, timeout=60, capture_output=True, text=True).stdout
    prediction, accepted = (json.loads(line) for line in said.splitlines())
    assert 0 < prediction["score"] < 1
    assert accepted["accepted"] == 1
    for command in (receipt, replay):
        words = command.replace("ID", prediction["id"]).replace("skyloom", str(SKYLOOM)).split()
        said = subprocess.run(words, cwd=project, check=True, timeout=120, capture_output=True, text=True).stdout
        assert repr(prediction["score"]) in said
