"""Objects in a folder."""

import os
from functools import partial

import pytest

from skyloom.kernel.errors import DataError, UsageError
from skyloom.stores.objects.folder import FolderObjects
from skyloom.testing.conformance.objects import ObjectsConformance, ObjectsOnFullDisk


class TestFolderObjects(ObjectsConformance, ObjectsOnFullDisk):
    @pytest.fixture
    def open_objects(self, tmp_path):
        return partial(FolderObjects, tmp_path / "store")


def file_of(tmp_path, digest):
    return tmp_path / "objects" / digest[:2] / digest[2:]


@pytest.mark.parametrize("change", [lambda b: b + b"x", lambda b: b[:-1], lambda b: b"", lambda b: b"N" + b[1:]])
def test_changed_bytes_are_never_returned(tmp_path, change):
    objects = FolderObjects(tmp_path)
    digest = objects.put(b"model")
    file_of(tmp_path, digest).write_bytes(change(b"model"))
    with pytest.raises(DataError, match="changed"):
        objects.get(digest)


def test_links_are_not_followed(tmp_path):
    objects = FolderObjects(tmp_path)
    digest = objects.put(b"model")
    path = file_of(tmp_path, digest)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pointers" / "p").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="link"):
        objects.get(digest)
    with pytest.raises(DataError, match="link"):
        objects.pointer("p")


def test_everything_is_private(tmp_path):
    objects = FolderObjects(tmp_path / "store")
    objects.move("p", objects.put(b"model").encode(), expect=None)
    for folder, _, files in os.walk(tmp_path / "store"):
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert all(os.stat(os.path.join(folder, file)).st_mode & 0o777 == 0o600 for file in files)


def test_what_a_killed_process_left_is_swept_when_it_is_old(tmp_path):
    FolderObjects(tmp_path)
    old, young = tmp_path / "partial" / "old", tmp_path / "partial" / "young"
    for left in (old, young):
        left.write_bytes(b"half")
    os.utime(old, (0, 0))
    FolderObjects(tmp_path)
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize("name", ["", "x" * 241, "ä" * 50])
def test_names_that_make_no_file_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="name"):
        FolderObjects(tmp_path).pointer(name)
