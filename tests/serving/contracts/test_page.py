"""The page about contracts: its tables are the code's, and its commands are typed."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from clouds import Cloud

from skyloom.kernel.contracts import CONTRACTS, DEFAULT
from skyloom.serving.contracts.catalog import BEHIND_A_PLATFORM, CATALOG, SHARED, Parts
from skyloom.serving.exchange import Exchange
from skyloom.serving.formats.media import KINDS
from skyloom.serving.formats.objects import ENVELOPES
from skyloom.serving.formats.writing import OUTPUTS
from skyloom.serving.life import Life
from skyloom.serving.services import Limits
from skyloom.spec.profile import Workers, load_profile

PAGE = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text()
ADDRESS = "localhost:8080"


def contract_rows() -> list[str]:
    """The rows of the first table: name, what it is, its routes, whether it is on by default, whether a cloud opens it."""
    unused: Any = None
    parts = Parts(unused, Exchange(unused, unused, None, 1), unused, unused, Life(), unused, Limits(), {})
    rows: list[str] = []
    for name, what in CONTRACTS.items():
        methods: dict[str, list[str]] = {}
        for endpoint in CATALOG[name](parts):
            methods.setdefault(endpoint.path, []).append(endpoint.method)
        routes = ", ".join(f"`{'/'.join(found)} {path}`" for path, found in methods.items() if "/versions/" not in path)
        on = "by default" if name in DEFAULT else "trusts" if name in BEHIND_A_PLATFORM else ""
        rows.append(f"| `{name}` | {what} | {routes} | {on} |")
    return rows


def shared_rows() -> list[str]:
    """The rows of the second table."""
    return [f"| `{each.method} {each.path}` | {', '.join(each.contracts)} | {each.rule} |" for each in SHARED]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    lines = PAGE.splitlines()
    for row in [*contract_rows(), *shared_rows()]:
        assert row in lines, row
    told = {line.split("`")[1] for line in lines if re.match(r"\| `[a-z-]+` \|", line)}
    assert told == set(CONTRACTS)


def test_the_page_names_every_format_and_every_way_to_ask() -> None:
    for name in [*filter(None, KINDS), *ENVELOPES, *OUTPUTS]:
        assert f"`{name}`" in PAGE, name


def test_the_profile_of_the_page(tmp_path: Path) -> None:
    [settings] = blocks("toml")
    (tmp_path / "skyloom.toml").write_text(settings)
    found = load_profile(tmp_path, "cloud").serving
    assert found == Workers(contracts=("predict", "health", "sagemaker"), model="late", trust_platform=True)


def test_the_commands_of_the_page_answer_what_it_says(cloud: Cloud, tmp_path: Path) -> None:
    commands, answers = [each for each in blocks("console") if "curl" in each], blocks("json")
    assert len(commands) == len(answers) > 5
    for command, answer in zip(commands, answers, strict=True):
        script = re.sub(r"^(\$|>) ", "", command, flags=re.MULTILINE).replace(ADDRESS, f"127.0.0.1:{cloud.server.port}")
        words = ["bash", "-euc", script]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=_with(cloud))
        assert done.returncode == 0, done.stderr
        assert [json.loads(line) for line in done.stdout.splitlines()] == [json.loads(line) for line in answer.splitlines()]


def _with(cloud: Cloud) -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "KEY": cloud.server.key}
