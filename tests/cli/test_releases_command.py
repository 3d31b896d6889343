"""`skyloom releases` and `skyloom doctor`: what was released, who obeys it, and what is refused."""

import json
from pathlib import Path

import pytest

from skyloom.cli.doctor import examine
from skyloom.cli.main import main
from skyloom.delivery.release import POINTER, publish
from skyloom.kernel.records.release import Release
from skyloom.platform import Platform, open_platform
from skyloom.runtime.releases import served_folder
from skyloom.serving.standing import PROCESSES, Standing, StandingFile, standings


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.chdir(tmp_path)
    return open_platform(tmp_path)


def release(platform: Platform, number: int) -> str:
    before = platform.objects.pointer(POINTER)
    made = Release(number, 1_000, f"reason {number}", "ann", {}, {}, {}, (), (before or b"").decode())
    return publish(platform.objects, platform.signer, made, before)


def tell(platform: Platform, **standing: object) -> StandingFile:
    file = StandingFile(served_folder(platform) / PROCESSES)
    file.tell(Standing(4242, 2_000, **standing))  # type: ignore[arg-type]
    return file


def test_releases_are_listed_newest_first_with_who_obeys_them(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [release(platform, number) for number in (1, 2, 3)]
    kept = tell(platform, number=3, release=made[-1], copied=True)
    assert main(["releases", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["id"], each["release"]["reason"]) for each in told["releases"]] == [
        (made[2], "reason 3"),
        (made[1], "reason 2"),
        (made[0], "reason 1"),
    ]
    assert [each["obeyed_by"] for each in told["releases"]] == [[4242], [], []]
    assert main(["releases", "--last", "1"]) == 0
    assert "reason 3" in (shown := capsys.readouterr().out)
    assert "reason 2" not in shown
    assert standings(served_folder(platform) / PROCESSES)[0].number == 3
    assert [each.state for each in examine(platform.directory, "local") if each.name == "server 4242"] == ["ok"]
    del kept


def test_what_is_refused_is_said_and_the_exit_code_is_1(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = release(platform, 1), release(platform, 2)
    kept = tell(platform, number=1, release=first, copied=True, refused=second, why="PackageError: no longer answers")
    assert main(["releases"]) == 1
    wanted = f"server 4242 refuses release {second[:12]}, release 1 serves on: PackageError: no longer answers"
    assert wanted in capsys.readouterr().out
    [check] = [each for each in examine(platform.directory, "local") if each.name == "server 4242"]
    assert (check.state, check.found, check.fix) == ("missing", wanted, "skyloom releases")
    del kept


def test_a_release_of_a_stranger_is_named_and_the_servers_are_shown_all_the_same(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    first = release(platform, 1)
    kept = tell(platform, number=1, release=first)
    for public in platform.private.glob("*.pub"):
        public.unlink()
    assert main(["releases", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["releases"], told["processes"][0]["number"]) == ([], 1)
    assert "not signed by a trusted key" in told["troubles"][0]
    del kept


def test_a_server_that_is_gone_is_not_shown(platform: Platform) -> None:
    folder = served_folder(platform) / PROCESSES
    file = tell(platform, number=1, release="r")
    assert len(standings(folder)) == 1
    file.close()
    assert standings(folder) == []
    assert list(folder.glob("*.json")) == []
