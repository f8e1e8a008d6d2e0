"""Golden files: written by TFLM, complete, true to their manifest, and C that compiles."""

import hashlib
import json
import shutil
import subprocess
import zlib

import numpy as np
import pytest

from refmicro import Interpreter
from refmicro._files import read_npz
from refmicro.bridge import OracleError
from refmicro.errors import UnsupportedError, UsageError
from refmicro.golden import DEFAULT_STEPS, c_identifier, write_golden
from refmicro.model.reader import parse_model, read_model
from refmicro.model.writer import write_model
from refmicro.types import TFLM_WHEEL, DType
from tests.models import ALL
from tests.ops.harness import model_of, tensor


def written(folder, name, **options):
    return write_golden(read_model(ALL[name]), name, folder, **options)


@pytest.mark.oracle
def test_vectors_equal_the_interpreter_and_the_manifest_the_files(tmp_path):
    seen = []
    manifest = written(
        tmp_path, "micro_speech_quantized", count=3, seed=4, progress=lambda *n: seen.append(n)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert {p.name for p in tmp_path.iterdir()} == {*manifest["files"], "manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    x, y = read_npz(tmp_path / "inputs.npz")["0"], read_npz(tmp_path / "outputs.npz")["0"]
    (mine,) = Interpreter.from_file(ALL["micro_speech_quantized"]).invoke_batch([x])
    assert mine.tobytes() == y.tobytes()
    assert manifest["outputs"] == [
        {"dtype": str(y.dtype), "shape": list(y.shape[1:]), "crc32": zlib.crc32(y.tobytes())}
    ]
    assert (manifest["seed"], manifest["count"], manifest["steps"]) == (4, 3, 1)
    assert manifest["written_by"]["tflite_micro"] == TFLM_WHEEL


@pytest.mark.oracle
def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        written(tmp_path / folder, "hello_world_int8", count=2)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.oracle
def test_models_with_state_are_streams_from_reset(tmp_path):
    name = "g_elu_inplacevar_int8"
    manifest = written(tmp_path, name, count=2, formats=["npz"])
    assert manifest["steps"] == DEFAULT_STEPS
    inputs, outputs = read_npz(tmp_path / "inputs.npz"), read_npz(tmp_path / "outputs.npz")
    assert outputs["0"].shape[:2] == (2, DEFAULT_STEPS)
    (mine,) = Interpreter.from_file(ALL[name]).invoke_sequence(list(inputs.values()))
    assert mine.tobytes() == outputs["0"].tobytes()
    assert not (tmp_path / "golden.h").exists()


@pytest.mark.oracle
def test_state_inside_an_operator_is_state(tmp_path):
    """The audio front end has no variable tensor; its noise estimate is the operator's own."""
    name = "audio_preprocessor_int8"
    graphs = read_model(ALL[name]).subgraphs
    assert not any(tensor.is_variable for graph in graphs for tensor in graph.tensors)
    assert written(tmp_path, name, count=1)["steps"] == DEFAULT_STEPS


@pytest.mark.oracle
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: install gcc to run it")
@pytest.mark.parametrize("name", ["hello_world_int8", "g_elu_resvar_int8"])
def test_header_is_c_and_holds_the_vectors(tmp_path, name):
    written(tmp_path, name, count=2)
    arrays = read_npz(tmp_path / "inputs.npz") | {
        f"out {key}": value for key, value in read_npz(tmp_path / "outputs.npz").items()
    }
    source, program = tmp_path / "main.c", tmp_path / "main"
    prints = "".join(
        f"fwrite({name}_{kind}_0, sizeof {name}_{kind}_0, 1, stdout);"
        for kind in ("input", "output")
    )
    source.write_text(
        f'#include <stdio.h>\n#include "golden.h"\nint main(void) {{ {prints} return 0; }}\n'
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, str(source), "-o", str(program)], check=True)
    got = subprocess.run([str(program)], check=True, capture_output=True).stdout
    assert got == b"".join(array.tobytes() for array in arrays.values())


@pytest.mark.oracle
def test_refused_model_writes_nothing(tmp_path):
    with pytest.raises(OracleError, match="EXP"):
        written(tmp_path / "out", "p_exp_int8")
    assert not (tmp_path / "out").exists()


@pytest.mark.oracle
def test_an_output_of_another_size_than_declared_writes_nothing(tmp_path):
    """GATHER replaces its output's shape in TFLM."""
    positions = tensor(DType.INT32, (3,), data=np.array([0, 1, 0]))
    x, out = tensor(DType.INT8, (2, 4)), tensor(DType.INT8, (2, 4))
    model = model_of("GATHER", [x, positions], [out], {"axis": 0, "batch_dims": 0})
    with pytest.raises(UnsupportedError, match=r"output 0 int8 \[3, 4\].* declares: 8 bytes"):
        write_golden(parse_model(write_model(model)), "gather", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [({"count": 0}, "--count"), ({"steps": 0}, "--steps"), ({"formats": ["npz", ""]}, "--format")],
)
def test_wrong_arguments(tmp_path, options, word):
    with pytest.raises(UsageError, match=word):
        written(tmp_path / "out", "hello_world_int8", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "identifier"),
    [("a-b.c", "a_b_c"), ("2x", "m2x"), ("", "m"), ("mödel", "m_del"), ("ok_1", "ok_1")],
)
def test_identifiers(name, identifier):
    assert c_identifier(name) == identifier


def test_numbers_of_every_type_are_c():
    from refmicro.golden import _c_number

    assert _c_number(np.bool_(True)) == "true"
    assert _c_number(np.int32(-(2**31))) == "INT32_MIN"
    assert _c_number(np.int64(-(2**63))) == "INT64_MIN"
    assert _c_number(np.float32("nan")) == "NAN"
    assert _c_number(np.float64("-inf")) == "-INFINITY"
    assert float.fromhex(_c_number(np.float32(0.1)).rstrip("f")) == np.float32(0.1)
