"""MEMA kernels in the place of TFLM's own, run by the real TFLM."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from refmicro.bridge import Oracle, OracleRefusal
from refmicro.cli.main import main
from refmicro.emit.registration import digest, oracle_ops, registrations
from refmicro.errors import UnsupportedError
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.model.writer import write_model
from refmicro.types import DType
from tests.ops import test_conv_2d, test_fully_connected

GOLDEN = Path(__file__).parents[2] / "golden"
KWS = GOLDEN / "models" / "kws_mamba_int8" / "model.tflite"
PERSON = GOLDEN / "tflm" / "person_detect.tflite"
SAME = 0

needs_cross = pytest.mark.skipif(
    shutil.which("arm-none-eabi-g++") is None, reason="needs arm-none-eabi-g++ on the PATH"
)


def outputs(data: bytes, custom_ops=(), *, count: int = 3) -> tuple[list[bytes], int]:
    """Outputs of some invocations in TFLM, and the bytes of its arena."""
    oracle = Oracle(data, custom_ops=custom_ops)
    random = np.random.default_rng(4)
    found = []
    for _ in range(count):
        for index, info in enumerate(oracle.inputs):
            limits = np.iinfo(info.dtype)
            values = random.integers(limits.min, limits.max, info.shape, info.dtype, endpoint=True)
            oracle.set_input(values, index)
        oracle.invoke()
        found += [oracle.get_output(i).tobytes() for i in range(len(oracle.outputs))]
    used = oracle.arena.used_bytes
    oracle.close()
    return found, used


def same_in_tflm(model: Model, data: bytes) -> None:
    """With the replaced operators TFLM computes the same bytes, in no more memory."""
    text = registrations(model, "host").text
    own, own_bytes = outputs(data)
    mine, my_bytes = outputs(data, oracle_ops(text))
    assert mine == own
    assert my_bytes <= own_bytes


@pytest.mark.oracle
def test_a_model_with_an_operator_that_stays() -> None:
    model = read_model(KWS)
    made = registrations(model, "host")
    assert (len(made.replaced), len(made.left)) == (6, 1)
    assert "#define MEMA_KEEP_TFLM 1" in made.text
    same_in_tflm(model, KWS.read_bytes())


@pytest.mark.oracle
def test_convolutions_of_a_model() -> None:
    model = read_model(PERSON)
    made = registrations(model, "host")
    assert len(made.replaced) == 14
    assert made.left == ()
    assert "#define MEMA_KEEP_TFLM 0" in made.text
    same_in_tflm(model, PERSON.read_bytes())


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["padded", "int16", "int64 bias"])
def test_single_operators(kind: str) -> None:
    random = np.random.default_rng(1)
    if kind == "padded":
        model = test_conv_2d.model(random, (1, 6, 5, 3), (5, 3, 3), padding=SAME)
    elif kind == "int16":
        model = test_conv_2d.model(random, (1, 4, 4, 5), (3, 1, 1), x=DType.INT16)
    else:
        model = test_fully_connected.model(
            random, 3, 21, 6, x=DType.INT16, bias_type=DType.INT64, per_channel=True
        )
    same_in_tflm(model, write_model(model))


@pytest.mark.oracle
def test_another_filter_is_refused() -> None:
    """The kernels are of one model: Prepare notices where the filter is another one."""
    random = np.random.default_rng(2)
    model = test_fully_connected.model(random, 2, 8, 4, points=(3, 0, -5))
    other = test_fully_connected.model(random, 2, 8, 4, points=(3, 0, -5))
    ops = oracle_ops(registrations(model, "host").text)
    outputs(write_model(model), ops)
    with pytest.raises(OracleRefusal):
        outputs(write_model(other), ops)


def test_operators_that_differ_in_scales_alone_stay() -> None:
    random = np.random.default_rng(3)
    model = test_fully_connected.model(random, 2, 8, 4, points=(3, 0, -5))
    (graph,) = model.subgraphs
    (op,) = graph.operators
    output = graph.tensors[op.outputs[0]]
    quantization = dataclasses.replace(output.quantization, scale=(0.7,))
    twin = dataclasses.replace(output, name="twin", quantization=quantization)
    second = dataclasses.replace(op, outputs=(len(graph.tensors),))
    graph = dataclasses.replace(
        graph,
        tensors=(*graph.tensors, twin),
        operators=(op, second),
        outputs=(*graph.outputs, len(graph.tensors)),
    )
    with pytest.raises(UnsupportedError, match="no operator of this model"):
        registrations(dataclasses.replace(model, subgraphs=(graph,)), "host")


def test_a_model_without_products() -> None:
    with pytest.raises(UnsupportedError, match="no operator of this model"):
        registrations(read_model(GOLDEN / "tflm" / "simple_add_model.tflite"), "cortex-m4")


def test_digest_is_fnv_1a() -> None:
    """Published values of the 32-bit hash."""
    assert digest(b"") == 0x811C9DC5
    assert digest(b"a") == 0xE40C292C
    assert digest(b"foobar") == 0xBF9CF968


@pytest.mark.oracle
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["emit", str(KWS), "-o", str(tmp_path), "--registrations", "--count", "2"]
    assert main([*command, "--name", "spotter", "--json"]) == 0
    text, err = capsys.readouterr()
    report = json.loads(text)
    assert err == ""
    assert report["proof"]["proven"]
    assert len(report["replaced"]) == 6
    written = (tmp_path / "spotter_tflm_kernels.cc").read_text()
    assert written == registrations(read_model(KWS), "cortex-m4").text


@needs_cross
def test_text_for_the_board_compiles(tmp_path: Path) -> None:
    """Against the bridge's declarations; TFLM's headers are not part of refmicro."""
    source = tmp_path / "tflm_kernels.cc"
    source.write_text(registrations(read_model(KWS), "cortex-m4").text)
    command = ["arm-none-eabi-g++", "-std=c++17", "-O2", "-mcpu=cortex-m4", "-mthumb"]
    command += ["-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-Wall", "-Wextra", "-Werror"]
    command += ["-fno-rtti", "-fno-exceptions", "-fno-threadsafe-statics", "-DREFMICRO_BRIDGE"]
    command += ["-c", str(source), "-o", str(tmp_path / "tflm_kernels.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
