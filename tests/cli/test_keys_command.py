import json
import subprocess
import sys
from pathlib import Path

from skyloom.governance import Keyring, active_keys, audit_lines
from skyloom.platform import open_platform

SKYLOOM = Path(sys.executable).parent / "skyloom"


def keys(directory: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([SKYLOOM, "keys", *words], cwd=directory, capture_output=True, text=True, check=False)


def test_a_key_from_its_making_to_its_end(tmp_path: Path):
    created = keys(tmp_path, "create", "--scope", "predict", "--scope", "ingest", "--json")
    assert (created.returncode, created.stderr) == (0, "")
    made = json.loads(created.stdout)
    assert made["scopes"] == ["ingest", "predict"]

    platform = open_platform(tmp_path)
    assert Keyring(active_keys(platform.metadata)).check(made["key"], "ingest").prefix == made["prefix"].removeprefix("sky_")

    listed = keys(tmp_path, "list")
    assert listed.returncode == 0
    assert made["prefix"] in listed.stdout
    assert made["key"] not in listed.stdout

    assert keys(tmp_path, "revoke", made["prefix"]).returncode == 0
    (after,) = json.loads(keys(tmp_path, "list", "--json").stdout)
    assert after["revoked"]
    assert active_keys(platform.metadata) == ()
    assert [line.action for line in audit_lines(platform.metadata)] == ["create key", "revoke key"]
    platform.metadata.close()

    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert made["key"].removeprefix(made["prefix"] + "_").encode() not in stored


def test_refusals(tmp_path: Path):
    unknown = keys(tmp_path, "revoke", "sky_00000000")
    assert (unknown.returncode, unknown.stderr) == (1, "error: there is no key sky_00000000\n  next:  skyloom keys list\n")
    assert keys(tmp_path, "create", "--scope", "root").returncode == 2
    assert json.loads(keys(tmp_path, "list", "--json").stdout) == []
