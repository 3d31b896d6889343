"""A package is stored by digests, answers as it did, and is loaded without the libraries that made it."""

import subprocess
import sys

import msgspec
import pytest

from skyloom.kernel.errors import NotFound, PackageError
from skyloom.package import Golden, Scorer, load, save

ROWS = (("UA", 500.0, 3), (None, None, None), ("nobody", 1200.0, 23))


def _files(onnx, signature, scores=None):
    scorer = Scorer(onnx, signature)
    golden = Golden(ROWS, scores or tuple(scorer.score_row(row) for row in ROWS))
    return {
        "model.onnx": onnx,
        "signature.json": msgspec.json.encode(signature),
        "card.json": b"{}",
        "golden.json": msgspec.json.encode(golden),
    }


def _save(objects, files, model="m"):
    return save(objects, files, model=model, run="run_1", definition="d", groups={"g": "x"}, threshold=0.5)


def test_what_was_saved_is_loaded_and_answers_the_same(objects, trees_onnx, signature):
    digest = _save(objects, _files(trees_onnx, signature))
    package = load(objects, digest)
    package.check()
    assert package.manifest.threshold == 0.5
    assert package.manifest.groups == {"g": "x"}
    assert package.scorer.signature == signature
    assert _save(objects, _files(trees_onnx, signature)) == digest


def test_another_answer_in_the_last_bit_is_found(objects, trees_onnx, signature):
    import numpy as np

    scores = list(msgspec.json.decode(_files(trees_onnx, signature)["golden.json"], type=Golden).scores)
    scores[1] = float(np.nextafter(np.float32(scores[1]), np.float32(1)))
    package = load(objects, _save(objects, _files(trees_onnx, signature, tuple(scores))))
    with pytest.raises(PackageError, match="golden row 1"):
        package.check()


def test_a_package_without_a_needed_file_is_not_saved(objects, trees_onnx, signature):
    files = _files(trees_onnx, signature)
    del files["golden.json"]
    with pytest.raises(PackageError, match=r"golden\.json"):
        _save(objects, files)
    assert not objects.kept


def test_a_damaged_or_foreign_manifest_is_refused(objects, trees_onnx, signature):
    for content in (b"{", b"[]", b'{"model": 3}', trees_onnx):
        with pytest.raises(PackageError):
            load(objects, objects.put(content))
    digest = _save(objects, _files(trees_onnx, signature))
    manifest = msgspec.json.decode(objects.get(digest))
    other = objects.put(msgspec.json.encode(manifest | {"format": "pickle"}))
    with pytest.raises(PackageError, match="pickle"):
        load(objects, other)
    del objects.kept[manifest["files"]["model.onnx"]]
    with pytest.raises(NotFound):
        load(objects, digest)


def test_serving_loads_none_of_the_libraries_that_train(tmp_path, trees_onnx, signature):
    (tmp_path / "model").write_bytes(trees_onnx)
    (tmp_path / "signature").write_bytes(msgspec.json.encode(signature))
    program = """
import sys, pathlib, msgspec
from skyloom.package import Scorer, Signature, load
folder = pathlib.Path(sys.argv[1])
scorer = Scorer((folder / "model").read_bytes(), msgspec.json.decode((folder / "signature").read_bytes(), type=Signature))
scorer.score_row(("UA", 1.0, 2))
print(sorted({name.split(".")[0] for name in sys.modules} & {"pandas", "sklearn", "onnx", "lightgbm", "skl2onnx", "numba"}))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
