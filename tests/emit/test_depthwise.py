"""Emitted DEPTHWISE_CONV_2D of many shapes against refmicro: C on this machine, and on a board.

Cases come from a seed: small images, so that windows lie inside, at every edge and beyond it.
"""

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
from tests.ops.test_depthwise_conv_2d import SAME, VALID, model

EDGES = (-128, 127, 0, 3)


def random_model(seed: int, channels: tuple[int, ...], multipliers: tuple[int, ...]) -> Model:
    """Sizes, strides, dilations, padding, zero points and activation from a seed."""
    rng = np.random.default_rng(seed)

    def one_of(values):
        return values[int(rng.integers(len(values)))]

    filters = [int(n) for n in rng.integers(1, 6, 2)]
    dilation = [one_of((1, 1, 2)) for _ in range(2)]
    padding = one_of((SAME, SAME, VALID))
    spans = [(f - 1) * d + 1 for f, d in zip(filters, dilation, strict=True)]
    sizes = [int(n) for n in rng.integers(1, 10, 2)]
    if padding == VALID:
        sizes = [max(size, span) for size, span in zip(sizes, spans, strict=True)]
    x = one_of((DType.INT8,) * 5 + (DType.INT16,)) if 1 in channels else DType.INT8
    bias = DType.INT32 if x is DType.INT8 else DType.INT64
    return read_back(
        model(
            rng,
            (one_of((1, 1, 2)), *sizes, one_of(channels)),
            tuple(filters),
            one_of(multipliers),
            stride=tuple(int(n) for n in rng.integers(1, 4, 2)),
            dilation=tuple(dilation),
            padding=padding,
            x=x,
            bias=one_of((bias, bias, None)),
            per_channel=one_of((True, True, False)),
            scales=(0.05, 0.02, one_of((0.0004, 0.02, 0.1, 0.4))),
            points=(one_of(EDGES), one_of(EDGES)),
            activation=one_of((0, 0, 1, 3)),
        )
    )


def inputs_of(source: Model, rows: int, seed: int) -> np.ndarray:
    """Random values, and the ends of the type throughout."""
    tensor = source.subgraphs[0].tensors[source.subgraphs[0].inputs[0]]
    limits = np.iinfo(tensor.dtype.numpy)
    rng = np.random.default_rng(seed)
    values = rng.integers(limits.min, limits.max, (rows, *tensor.shape), endpoint=True)
    values[0], values[1] = limits.min, limits.max
    return values.astype(tensor.dtype.numpy)


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler here: install gcc or clang")
def test_random_shapes_on_this_machine(tmp_path):
    """One channel is a matrix kernel's; the rest are windows inside and at edges."""
    sources = [random_model(seed, (1, 2, 3, 5, 8), (1, 1, 2, 4)) for seed in range(40)]
    emitted = [emit(m, "host", name=f"case_{i}", as_it_is=True) for i, m in enumerate(sources)]
    program = batch.build(emitted, tmp_path)
    inputs = [inputs_of(source, 4, seed) for seed, source in enumerate(sources)]
    streams = [(i, emitted[i], [inputs[i]]) for i in range(len(sources))]
    for seed, got in enumerate(batch.run(program, streams)):
        want = Interpreter(sources[seed]).invoke_batch([inputs[seed]])
        assert got[0].tobytes() == want[0].tobytes(), seed


@needs_board("cortex-m4")
def test_random_shapes_on_the_board(tmp_path):
    """Four channels at a time by assembly, those that are left over in C."""
    sources = [random_model(seed, (4, 5, 8, 11, 12), (1, 1, 1, 2)) for seed in range(100, 124)]
    inputs = [inputs_of(source, 3, seed) for seed, source in enumerate(sources)]
    made = [emit(m, "cortex-m4", name=f"case_{i}", as_it_is=True) for i, m in enumerate(sources)]
    texts = [b"".join(item.files.values()).decode() for item in made]
    assert sum("four_products(" in text for text in texts) >= 8
    assert sum("four_offset_products(" in text for text in texts) >= 8
    for seed, got in enumerate(run_on_board(made, inputs, tmp_path)):
        want = Interpreter(sources[seed]).invoke_batch([inputs[seed]])
        assert got == want[0].tobytes(), seed
