"""Keeps packaged models: every file by its digest, under a manifest whose digest names the package."""

from collections.abc import Mapping

import msgspec

from skyloom.kernel.errors import PackageError
from skyloom.kernel.ids import canonical_json
from skyloom.kernel.records.registry import Package
from skyloom.package.scorer import Scorer, Value
from skyloom.package.signature import Signature
from skyloom.ports import Objects

MODEL, SIGNATURE, CARD, GOLDEN, BOM = "model.onnx", "signature.json", "card.json", "golden.json", "bom.json"
_NEEDED = (MODEL, SIGNATURE, CARD, GOLDEN)


class Golden(msgspec.Struct, frozen=True):
    """Rows, and what the package answered when it was made: what it must answer for ever."""

    rows: tuple[tuple[Value, ...], ...]
    scores: tuple[float, ...]


class LoadedPackage:
    """A package that is ready to answer."""

    def __init__(self, manifest: Package, scorer: Scorer, golden: Golden, card: bytes) -> None:
        self.manifest = manifest
        self.scorer = scorer
        self.golden = golden
        self.card = card
        """The model card, as JSON."""

    def check(self) -> None:
        """Ask the golden rows, alone and together; `PackageError` unless every answer is the recorded one, bit for bit."""
        wanted = list(self.golden.scores)
        for how, given in (
            ("alone", [self.scorer.score_row(row) for row in self.golden.rows]),
            ("together", self.scorer.score_rows(self.golden.rows)),
        ):
            if given != wanted:
                row = next(at for at, (left, right) in enumerate(zip(given, wanted, strict=True)) if left != right)
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
    missing = [name for name in _NEEDED if name not in package_files]
    if missing:
        raise PackageError(f"a package needs {', '.join(missing)}", tried=", ".join(sorted(package_files)))
    digests = {name: objects.put(content) for name, content in sorted(package_files.items())}
    return objects.put(canonical_json(Package(model, "onnx", digests, definition, dict(groups), threshold, run)))


def load(objects: Objects, digest: str) -> LoadedPackage:
    """The package of that manifest, loaded. It needs ONNX Runtime alone: nothing of a package is executed as a program.

    Raises `NotFound` or `DataError` from the store, `PackageError` when the bytes are no such package.
    """
    try:
        manifest = msgspec.json.decode(objects.get(digest), type=Package)
        missing = [name for name in _NEEDED if name not in manifest.files]
        if missing or manifest.format != "onnx":
            raise PackageError(f"package {digest[:12]} of format {manifest.format!r} lacks {missing}")
        files = {name: objects.get(manifest.files[name]) for name in _NEEDED}
        signature = msgspec.json.decode(files[SIGNATURE], type=Signature)
        golden = msgspec.json.decode(files[GOLDEN], type=Golden)
    except msgspec.DecodeError as error:
        raise PackageError(f"package {digest[:12]} is damaged", tried=str(error)) from error
    return LoadedPackage(manifest, Scorer(files[MODEL], signature), golden, files[CARD])
