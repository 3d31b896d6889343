"""Signed bytes that were changed, whichever and by whom: they are refused, or say exactly what was signed."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from skyloom.delivery.release import load, publish
from skyloom.kernel.errors import DataError, Refused
from skyloom.kernel.expr import Expression
from skyloom.kernel.records.definitions import LabelDef, LoopDef, ModelDef
from skyloom.kernel.records.release import Arm, KeyDigest, Release, Route
from skyloom.stores.keys.local import LocalSigner, LocalVerifier
from skyloom.stores.objects.folder import FolderObjects

FLIPS = 1_000
LABEL = LabelDef("ends", "id", Expression("col", value="y"), 9)
MODEL = ModelDef("m", "asks", (), LABEL, "f", "", {}, (), "binary", LoopDef())
RELEASE = Release(
    7,
    5,
    "why",
    "ann",
    {"m": Route(MODEL, (Arm(1, "p", 10_000, "champion"),), "s")},
    {},
    {},
    (KeyDigest("a", "b", ("admin",)),),
)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[FolderObjects, LocalSigner, LocalVerifier]:
    signer = LocalSigner(tmp_path / "keys" / "release.key")
    return FolderObjects(tmp_path / "objects"), signer, LocalVerifier(tmp_path / "keys")


class Flipped:
    """A store that gives changed bytes for one digest and checks nothing, as an intruder's would."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def get(self, digest: str) -> bytes:
        return self._content


def test_a_thousand_flipped_bytes_change_no_release(
    stores: tuple[FolderObjects, LocalSigner, LocalVerifier], note: Callable[[str], None]
) -> None:
    objects, signer, verifier = stores
    release_id = publish(objects, signer, RELEASE, None)
    signed, draw = objects.get(release_id), random.Random(3)
    refused = same = 0
    for _ in range(FLIPS):
        changed = bytearray(signed)
        changed[draw.randrange(len(changed))] ^= draw.randrange(1, 256)
        try:
            assert load(Flipped(bytes(changed)), verifier, release_id) == RELEASE
        except Refused:
            refused += 1
        else:
            same += 1  # unused bits at the end of base64
    note(
        f"{FLIPS:,} flipped bytes of a signed release: {refused} refused, {same} read as what was signed, 0 as anything else"
    )
    assert refused >= 0.98 * FLIPS
    assert all(load(objects, verifier, release_id) == RELEASE for _ in range(100))


def test_a_store_that_checks_digests_gives_no_changed_byte(
    stores: tuple[FolderObjects, LocalSigner, LocalVerifier], tmp_path: Path
) -> None:
    objects, _, _ = stores
    draw, content = random.Random(4), bytes(range(256)) * 8
    digest = objects.put(content)
    [path] = [each for each in (tmp_path / "objects").rglob("*") if each.name == digest[2:]]
    path.chmod(0o600)
    for _ in range(200):
        changed = bytearray(content)
        changed[draw.randrange(len(changed))] ^= draw.randrange(1, 256)
        path.write_bytes(changed)
        with pytest.raises(DataError, match="have changed"):
            objects.get(digest)
    path.write_bytes(content)
    assert objects.get(digest) == content
