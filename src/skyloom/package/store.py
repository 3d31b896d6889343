"""Keeps packaged models: every file by its digest, under a manifest whose digest names the package."""

from collections.abc import Mapping, Sequence

import msgspec

from skyloom.kernel.errors import PackageError
from skyloom.kernel.ids import canonical_json
from skyloom.kernel.records.registry import Package
from skyloom.package.machine import machine
from skyloom.package.scorer import Scorer, Value
from skyloom.package.signature import Signature
from skyloom.ports import ObjectReader, Objects

MODEL, SIGNATURE, CARD, GOLDEN, BOM = "model.onnx", "signature.json", "card.json", "golden.json", "bom.json"
NEEDED = (MODEL, SIGNATURE, CARD, GOLDEN)
"""The files without which a package cannot answer."""


class Golden(msgspec.Struct, frozen=True):
    """Rows, and what the package answered when it was made: what it must answer for ever.

    Bit for bit where the machine is one like ``made_on`` (`machine`; empty: anywhere). Kernels and elementary functions of
    another processor differ in the last bits: there an answer may be off by ``tolerance``, that of the conversion's proof.
    """

    rows: tuple[tuple[Value, ...], ...]
    scores: tuple[float, ...]
    made_on: str = ""
    tolerance: float = 0.0

    @property
    def room(self) -> float:
        """How far an answer may be from the recorded one here."""
        return self.tolerance if self.made_on and self.made_on != machine() else 0.0


class Content(msgspec.Struct, frozen=True):
    """A package as it is stored: its manifest, and the bytes of the files that are needed to answer, by name."""

    manifest: Package
    files: dict[str, bytes]


class LoadedPackage:
    """A package that is ready to answer."""

    def __init__(self, manifest: Package, scorer: Scorer, golden: Golden, card: bytes) -> None:
        self.manifest = manifest
        self.scorer = scorer
        self.golden = golden
        self.card = card
        """The model card, as JSON."""

    def check(self) -> None:
        """Ask the golden rows, alone and together, which gives the same bits; `PackageError` unless every answer is the
        recorded one (see `Golden`), or when none is recorded."""
        rows, wanted = self.golden.rows, self.golden.scores
        if not rows or len(rows) != len(wanted):
            raise PackageError(
                f"the package of {self.manifest.model} has no golden rows to be checked by",
                tried=f"{len(rows)} rows, {len(wanted)} scores",
                fix=f"skyloom train {self.manifest.model}",
            )
        alone = [self.scorer.score_row(row) for row in rows]
        self._compare("alone", alone, wanted, self.golden.room)
        self._compare("together", self.scorer.score_rows(rows), alone, 0.0)

    def _compare(self, how: str, given: Sequence[float], wanted: Sequence[float], room: float) -> None:
        pairs = enumerate(zip(given, wanted, strict=True))
        row = next((at for at, (left, right) in pairs if not abs(left - right) <= room), None)
        if row is not None:
            raise PackageError(
                f"{self.manifest.model} no longer answers as it did",
                tried=f"golden row {row}, asked {how}: {given[row]}, was {wanted[row]}",
                fix="run it with the library versions of its bom.json, or train it again here",
            )


def save(
    objects: Objects,
    package_files: Mapping[str, bytes],
    *,
    model: str,
    run: str,
    definition: str,
    groups: Mapping[str, str],
    threshold: float,
) -> str:
    """Store a package; the digest of its manifest.

    ``definition`` is the content id of the model's definition, ``groups`` maps each feature group that it reads to the
    content id of that group's definition, ``threshold`` is the score from which on the label is taken for true.
    """
    missing = [name for name in NEEDED if name not in package_files]
    if missing:
        raise PackageError(f"a package needs {', '.join(missing)}", tried=", ".join(sorted(package_files)))
    digests = {name: objects.put(content) for name, content in sorted(package_files.items())}
    return objects.put(canonical_json(Package(model, "onnx", digests, definition, dict(groups), threshold, run)))


def read(objects: ObjectReader, digest: str) -> Content:
    """The package of that manifest, as bytes.

    Raises `NotFound` or `DataError` from the store, `PackageError` when the manifest is none or lacks a file.
    """
    try:
        manifest = msgspec.json.decode(objects.get(digest), type=Package)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PackageError(f"package {digest[:12]} is damaged", tried=str(error)) from error
    missing = [name for name in NEEDED if name not in manifest.files]
    if missing or manifest.format != "onnx":
        raise PackageError(f"package {digest[:12]} of format {manifest.format!r} lacks {missing}")
    return Content(manifest, {name: objects.get(manifest.files[name]) for name in NEEDED})


def opened(content: Content) -> LoadedPackage:
    """A package, ready to answer. It needs ONNX Runtime alone: nothing of a package is executed as a program.

    Raises `PackageError` when the bytes are no such package.
    """
    try:
        signature = msgspec.json.decode(content.files[SIGNATURE], type=Signature)
        golden = msgspec.json.decode(content.files[GOLDEN], type=Golden)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PackageError(f"the package of {content.manifest.model} is damaged", tried=str(error)) from error
    return LoadedPackage(content.manifest, Scorer(content.files[MODEL], signature), golden, content.files[CARD])


def load(objects: ObjectReader, digest: str) -> LoadedPackage:
    """The package of that manifest, ready to answer. Raises as `read` and `opened` do."""
    return opened(read(objects, digest))
