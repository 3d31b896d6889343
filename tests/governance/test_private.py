import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from skyloom.governance import read_private, write_private
from skyloom.kernel.errors import NotFound, Refused


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folder_and_file_are_closed_to_others_whatever_the_umask(tmp_path: Path, umask: int):
    old = os.umask(umask)
    try:
        path = write_private(tmp_path / "private", "key", b"secret")
    finally:
        os.umask(old)
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    assert read_private(tmp_path / "private", "key") == b"secret"


def test_an_open_folder_is_closed_and_the_secret_replaced(tmp_path: Path):
    folder = tmp_path / "private"
    folder.mkdir(mode=0o755)
    for secret in (b"one", b"two"):
        write_private(folder, "key", secret)
    assert mode(folder) == 0o700
    assert read_private(folder, "key") == b"two"
    assert os.listdir(folder) == ["key"]


def test_a_linked_folder_is_refused(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "private").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="symbolic link"):
        write_private(tmp_path / "private", "key", b"secret")
    with pytest.raises(Refused, match="symbolic link"):
        read_private(tmp_path / "private", "key")
    assert not os.listdir(tmp_path / "elsewhere")


def test_a_linked_file_is_refused_and_its_target_left_alone(tmp_path: Path):
    target = tmp_path / "target"
    target.write_bytes(b"theirs")
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "key").symlink_to(target)
    with pytest.raises(Refused, match="symbolic link"):
        write_private(folder, "key", b"secret")
    with pytest.raises(Refused, match="symbolic link"):
        read_private(folder, "key")
    assert target.read_bytes() == b"theirs"


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_something_else_in_the_folders_place_is_refused(tmp_path: Path, kind: str):
    place = tmp_path / "private"
    if kind == "file":
        place.write_bytes(b"")
    else:
        place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused):
        write_private(place, "key", b"secret")
    assert not (tmp_path / "nowhere").exists()


def test_a_secret_that_others_may_read_is_not_read(tmp_path: Path):
    path = write_private(tmp_path / "private", "key", b"secret")
    path.chmod(0o640)
    with pytest.raises(Refused, match="open to others"):
        read_private(tmp_path / "private", "key")


def test_what_is_not_there(tmp_path: Path):
    with pytest.raises(NotFound):
        read_private(tmp_path / "private", "key")
    write_private(tmp_path / "private", "other", b"")
    with pytest.raises(NotFound):
        read_private(tmp_path / "private", "key")


def test_a_full_disk_leaves_the_old_secret(tmp_path: Path):
    write_private(tmp_path / "private", "key", b"old")
    code = """
import resource, signal, sys
from pathlib import Path
from skyloom.governance import write_private
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))
try:
    write_private(Path(sys.argv[1]), "key", b"new and longer")
except OSError:
    raise SystemExit(7)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "private")], check=False)
    assert ended.returncode == 7
    assert read_private(tmp_path / "private", "key") == b"old"
    assert os.listdir(tmp_path / "private") == ["key"]
