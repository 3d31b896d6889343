"""Releases: signed, stored under the digest of their bytes, and pointed at by a pointer that moves by compare-and-swap."""

from collections.abc import Iterator

import msgspec

from skyloom.kernel.errors import DataError, NotFound, Refused
from skyloom.kernel.ids import canonical_json
from skyloom.kernel.records.release import Release, SignedRelease
from skyloom.ports.keys import Signer, Verifier
from skyloom.ports.objects import ObjectReader, Objects

POINTER = "release"


def publish(objects: Objects, signer: Signer, release: Release, expect: bytes | None) -> str:
    """Sign and store a release and let serving obey it; its id, the digest of the stored bytes.

    ``expect`` is what the pointer holds now: the id of the release before, as bytes, or ``None`` for the first.
    Raises `Conflict` when somebody else released meanwhile.
    """
    content = canonical_json(release)
    signed = SignedRelease(content, signer.sign(content), signer.key_id)
    release_id = objects.put(canonical_json(signed))
    objects.move(POINTER, release_id.encode(), expect=expect)
    return release_id


def current(objects: Objects, verifier: Verifier) -> tuple[str, Release] | None:
    """The id and the content of the release that is to be obeyed, or ``None`` before the first.

    Raises `Refused` when its signature is not of a trusted key or its bytes are not those of its id.
    """
    pointed = objects.pointer(POINTER)
    if pointed is None:
        return None
    release_id = pointed.decode("ascii", "replace")
    return release_id, load(objects, verifier, release_id)


def history(objects: Objects, verifier: Verifier) -> Iterator[tuple[str, Release]]:
    """The releases, the present one first, as far back as they are still stored. Raises as `current` does."""
    found = current(objects, verifier)
    while found is not None:
        yield found
        before = found[1].before
        try:
            found = (before, load(objects, verifier, before)) if before else None
        except NotFound:
            return


def load(objects: ObjectReader, verifier: Verifier, release_id: str) -> Release:
    """A release by its id, also one of the past. Raises `NotFound`, and `Refused` as `current` does."""
    try:
        signed = msgspec.json.decode(objects.get(release_id), type=SignedRelease)
    except (DataError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"the bytes of release {release_id[:12]} are damaged", tried=str(error), fix=_FIX) from error
    if not verifier.verify(signed.key_id, signed.release, signed.signature):
        raise Refused(f"release {release_id[:12]} is not signed by a trusted key", tried=f"key {signed.key_id}", fix=_FIX)
    try:
        return msgspec.json.decode(signed.release, type=Release)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"release {release_id[:12]} is not understood", tried=str(error), fix=_FIX) from error


_FIX = "serve on with the release before; publish again with: skyloom apply"
