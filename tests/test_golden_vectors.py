"""The interpreter reproduces every golden vector; no oracle is needed for this."""

import hashlib
import json

import numpy as np
import pytest

from refmicro import Interpreter
from tests.models import GOLDEN, MAMBA, MANIFEST, REFUSED

VECTORS = sorted(set(MAMBA) - REFUSED)


@pytest.mark.parametrize("name", VECTORS)
def test_interpreter_equals_tflm(name):
    folder = GOLDEN / "models" / name
    with np.load(folder / "inputs.npz") as archive:
        inputs = [archive[str(i)] for i in range(len(archive.files))]
    with np.load(folder / "outputs.npz") as archive:
        want = [archive[str(i)] for i in range(len(archive.files))]
    interpreter = Interpreter.from_file(folder / "model.tflite")
    streams = MANIFEST["models"][name]["steps"] > 1
    got = interpreter.invoke_sequence(inputs) if streams else interpreter.invoke_batch(inputs)
    for mine, theirs in zip(got, want, strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("name", VECTORS)
def test_manifest_tells_the_truth_about_files(name):
    folder = GOLDEN / "models" / name
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["model"]["sha256"] == _sha256(folder / "model.tflite")
    assert manifest["files"] == MANIFEST["models"][name]["files"]
    for file, digest in manifest["files"].items():
        assert _sha256(folder / file) == digest


def test_every_model_is_in_the_manifest():
    assert set(MANIFEST["models"]) == set(MAMBA)
    assert len(VECTORS) >= 10


def _sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
