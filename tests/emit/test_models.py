"""Emitted C of whole models against the vectors that TFLM wrote, under sanitizers.

The C is compiled by this machine's compiler for the plain target; TFLM's own example models are
compared with the real TFLM's outputs through refmicro, which the golden tests hold to it.
"""

import functools
import json
import shutil

import numpy as np
import pytest

from refmicro.emit.compiler import FLAGS, find_compiler, object_bytes
from refmicro.emit.emitter import emit
from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.reader import read_model
from refmicro.types import DType
from refmicro.vectors import random_inputs
from tests.emit import batch
from tests.models import MAMBA, REFUSED, TFLM
from tests.ops.harness import tensor

needs_compiler = pytest.mark.skipif(
    find_compiler() is None, reason="no C compiler here: install gcc or clang, or set CC"
)

UNROLLED = ["u2_split_int8", "u3_elu_trained_int8"]
"""Their sisters are tested: each takes seconds to fuse."""

GOLDEN = [name for name in MAMBA if name not in REFUSED and name not in UNROLLED]
EXAMPLES = list(TFLM)
AS_IT_IS = ["kws_mamba_int8", "g_elu_resvar_int8", "g_elu_while_int8", "stream_sig_bmm_int16x8"]

CROSS = {
    "cortex-m0plus": ("arm-none-eabi-gcc", ["-mcpu=cortex-m0plus", "-mthumb"]),
    "cortex-m3": ("arm-none-eabi-gcc", ["-mcpu=cortex-m3", "-mthumb"]),
    "cortex-m4": (
        "arm-none-eabi-gcc",
        ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"],
    ),
    "rv32im": ("riscv64-unknown-elf-gcc", ["-march=rv32im", "-mabi=ilp32", "-ffreestanding"]),
}


@functools.cache
def emitted(name, target="host", as_it_is=False):
    path = (MAMBA | TFLM)[name]
    suffix = "_as_it_is" if as_it_is else ""
    return emit(read_model(path), target, name=f"{name}{suffix}", as_it_is=as_it_is)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """One program of all golden and example models, and one of those that are left as they are."""
    found = {}
    for as_it_is, names in ((False, GOLDEN + EXAMPLES), (True, AS_IT_IS)):
        models = [emitted(name, as_it_is=as_it_is) for name in names]
        program = batch.build(models, tmp_path_factory.mktemp("models"))
        found[as_it_is] = (program, {name: number for number, name in enumerate(names)})
    return found


@needs_compiler
@pytest.mark.parametrize(
    ("name", "as_it_is"), [(name, False) for name in GOLDEN] + [(name, True) for name in AS_IT_IS]
)
def test_golden_vectors(programs, name, as_it_is):
    """Every vector and stream that TFLM recorded; streams follow one another after a reset."""
    folder = MAMBA[name].parent
    steps = json.loads((folder / "manifest.json").read_text())["steps"]
    arrays = []
    for file in ("inputs", "outputs"):
        with np.load(folder / f"{file}.npz") as archive:
            arrays.append([archive[str(index)] for index in range(len(archive.files))])
    inputs, want = arrays
    if steps == 1:
        inputs, want = ([a[:, None] for a in group] for group in (inputs, want))
    program, numbers = programs[as_it_is]
    model = emitted(name, as_it_is=as_it_is)
    streams = [(numbers[name], model, [a[row] for a in inputs]) for row in range(len(want[0]))]
    results = batch.run(program, streams)
    for row, outputs in enumerate(results):
        for index, output in enumerate(outputs):
            assert output.tobytes() == want[index][row].tobytes(), (row, index)


@needs_compiler
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(programs, name):
    """TFLM's example models, two streams of three steps each."""
    model = read_model(TFLM[name])
    tensors = [model.subgraphs[0].tensors[i] for i in model.subgraphs[0].inputs]
    flat = random_inputs(tensors, 6, 7)
    inputs = [a.reshape(2, 3, *a.shape[1:]) for a in flat]
    want = Interpreter(model).invoke_sequence(inputs)
    program, numbers = programs[False]
    streams = [(numbers[name], emitted(name), [a[row] for a in inputs]) for row in range(2)]
    for row, outputs in enumerate(batch.run(program, streams)):
        for index, output in enumerate(outputs):
            assert output.tobytes() == want[index][row].tobytes(), (row, index)


def test_models_without_c_are_refused():
    """All operators that cannot be emitted are named at once, with where they are."""
    tensors = tuple(tensor(DType.FLOAT32, (4,)) for _ in range(4))
    names = ("LOGISTIC", "NEG", "TANH")
    ops = (Operator(OperatorCode(name), (i,), (i + 1,)) for i, name in enumerate(names))
    model = Model((Subgraph(tensors, (0,), (3,), tuple(ops)),))
    with pytest.raises(UnsupportedError, match="1 more; operators: LOGISTIC, TANH") as caught:
        emit(model)
    assert len(caught.value.problems) == 2
    assert "operator 2 (TANH): cannot be emitted as C: takes float32" in caught.value.problems[1]


@pytest.mark.parametrize("target", sorted(CROSS))
@pytest.mark.parametrize("name", ["kws_mamba_int8", "stream_sig_bmm_int16x8", "trained_lstm_int8"])
def test_cross_compilers_have_nothing_to_say(name, target):
    compiler, flags = CROSS[target]
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here: install it (apt-get install gcc-{compiler[:-4]})")
    found = emitted(name, target)
    sections = object_bytes(found.files, found.name, [compiler], ["-O2", *flags])
    # Word alignment of the arena may add a few bytes.
    assert found.ram_bytes <= sections["static"] <= found.ram_bytes + 8


def test_flags_are_those_that_users_are_promised():
    assert set(FLAGS) == {"-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"}


@pytest.mark.parametrize("name", ["kws_mamba_int8", "g_elu_while_int8", "person_detect"])
def test_text_is_the_same_each_time(name):
    path = (MAMBA | TFLM)[name]
    again = emit(read_model(path), "host", name=name)
    assert again.files == emitted(name).files
    assert not any(str(path.parent).encode() in data for data in again.files.values())


def test_streaming_keyword_spotter_is_small():
    """State of the scan, of the convolution and the sum, and what one frame needs besides."""
    found = emitted("kws_mamba_int8", "cortex-m4")
    assert found.state_bytes == 2048 + 512 + 20
    assert found.head_bytes == found.head_lower_bound_bytes
    assert found.ram_bytes < 3200
