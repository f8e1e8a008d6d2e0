"""Emitted UNIDIRECTIONAL_SEQUENCE_LSTM against refmicro: C on this machine, and on a board."""

from __future__ import annotations

import numpy as np
import pytest

from refmicro.emit.compiler import find_compiler
from refmicro.emit.emitter import emit
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model
from refmicro.types import DType
from tests.emit import batch
from tests.emit.on_board import run_on_board
from tests.emit.test_operators import read_back
from tests.mema.on_board import needs_board
from tests.ops.test_unidirectional_sequence_lstm import NONE, TANH, model

KINDS = (
    {},
    {"time_major": True, "clip": 0.7, "batch": 2},
    {"dtype": DType.INT16, "batch": 2},
    {"dtype": DType.INT16, "scales": (3e-5, 2.0**-15, 2.0**-11)},
    {"weights_point": 5, "batch": 2},
    {"activation": NONE, "points": (-128, 127)},
    {"scales": (0.5, 0.4, 2.0**-13), "points": (127, -128)},
    {"scales": (0.001, 0.002, 2.0**-4)},
)


def sources() -> list[Model]:
    """Odd and even sizes of input and state."""
    found = []
    for seed, kind in enumerate(KINDS):
        rng = np.random.default_rng(seed)
        size, width = (int(n) for n in rng.integers(1, 13, 2))
        kind = {"activation": TANH, **kind}
        found.append(read_back(model(rng, steps=4, size=size, width=width, **kind)))
    return found


def inputs_of(source: Model) -> np.ndarray:
    """Invocations of one stream: random ones, and the ends of the type."""
    tensor = source.subgraphs[0].tensors[source.subgraphs[0].inputs[0]]
    limits = np.iinfo(tensor.dtype.numpy)
    rng = np.random.default_rng(tensor.elements)
    values = rng.integers(limits.min, limits.max, (5, *tensor.shape), endpoint=True)
    values[2], values[3] = limits.min, limits.max
    return values.astype(tensor.dtype.numpy)


def expected(source: Model, values: np.ndarray) -> bytes:
    """What refmicro gives for the stream."""
    return Interpreter(source).invoke_sequence([values[None]])[0].tobytes()


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler here: install gcc or clang")
def test_streams_on_this_machine(tmp_path):
    models = sources()
    made = [emit(m, "host", name=f"lstm_{i}", as_it_is=True) for i, m in enumerate(models)]
    program = batch.build(made, tmp_path)
    inputs = [inputs_of(source) for source in models]
    streams = [(i, item, [inputs[i]]) for i, item in enumerate(made)]
    for number, got in enumerate(batch.run(program, streams)):
        assert got[0].tobytes() == expected(models[number], inputs[number]), number


@needs_board("cortex-m4")
def test_streams_on_the_board(tmp_path):
    models = sources()
    made = [emit(m, "cortex-m4", name=f"lstm_{i}", as_it_is=True) for i, m in enumerate(models)]
    inputs = [inputs_of(source) for source in models]
    for number, got in enumerate(run_on_board(made, inputs, tmp_path)):
        assert got == expected(models[number], inputs[number]), number


def test_gates_are_products_of_generated_kernels():
    """Of int8 all but the one whose weights leave int8 with their zero point."""
    for kind, source in zip(KINDS, sources(), strict=True):
        if "dtype" in kind:
            continue
        text = emit(source, "cortex-m4", name="lstm", as_it_is=True).files["lstm.c"].decode()
        assert ("smlad" in text) != ("weights_point" in kind)
